//! Searching under a budget.

use std::path::Path;

use atb_measurements::Quantity;
use atb_predictor::Predictor;
use atb_search::{Budget, Candidates, Fitness, Outcome, Settings, Store, search};
use atb_settings::{Checked, OutOfRange, Violation};
use atb_space::Space;
use atb_superplm::{KdFitness, MaskedLmFitness, SuperPlm};
use atb_text::{Corpus, Encoded, HELD_OUT};

use crate::config::Aim;
use crate::{BudgetConfig, FitnessConfig, Loss, PipelineError, Reporter};

/// The budget that `config` asks for on the predictor's device.
///
/// # Errors
/// [`PipelineError`] if it makes no sense or asks for a speed-up against an architecture
/// that was not measured.
pub fn budget(config: &BudgetConfig, predictor: &Predictor) -> Result<Budget, PipelineError> {
    if predictor.quantity != Quantity::Latency {
        return Err(PipelineError::Setting {
            key: "the predictor's quantity",
            value: predictor.quantity.to_string(),
            expected: "latency, which a budget is of",
            hint: Some("`atb fit` without --quantity"),
        });
    }
    config.checked()?;
    let target_ms = match config.aim() {
        Aim::Milliseconds(latency_ms) => latency_ms,
        Aim::Speedup(speedup) => Budget::speedup_ms(predictor, &config.against, speedup)?,
    };
    Ok(config.at(target_ms))
}

/// The band of latencies that the paper's search looks at around a budget, in milliseconds.
#[must_use]
pub fn band_ms(target_ms: f64) -> (f64, f64) {
    let budget = Budget::paper(target_ms);
    (budget.low_ms(), budget.high_ms())
}

/// The held-out text of `config` as token ids.
///
/// # Errors
/// [`PipelineError::Text`] naming file and line.
pub fn held_out(config: &FitnessConfig, plm: &SuperPlm) -> Result<Encoded, PipelineError> {
    config.checked()?;
    let positions = plm.config().max_position_embeddings;
    if config.sequence > positions {
        let key = "fitness.sequence".to_owned();
        let (value, expected) = (
            config.sequence.to_string(),
            format!("at most the {positions} positions of the SuperPLM"),
        );
        return Err(OutOfRange { violations: vec![Violation { key, value, expected }] }.into());
    }
    let mut texts = Vec::new();
    let mut take = |paragraph: Result<atb_text::Paragraph, atb_text::TextError>| {
        texts.push(paragraph?.text);
        Ok::<(), PipelineError>(())
    };
    match &config.text {
        Some(path) => Corpus::open(path)?.take(config.paragraphs).try_for_each(&mut take)?,
        None => Corpus::new("built-in text", HELD_OUT.as_bytes())
            .take(config.paragraphs)
            .try_for_each(&mut take)?,
    }
    Ok(plm.tokenizer().encode_batch(texts.iter().map(String::as_str), config.sequence)?)
}

/// The loss that `config` asks for, of sub-models of `plm` on its held-out text. The teacher
/// of the KD loss is the whole SuperPLM.
///
/// # Errors
/// [`PipelineError`] if the text is at fault or the SuperPLM has no such loss.
pub fn loss_on_text<'a>(
    config: &FitnessConfig,
    plm: &'a SuperPlm,
) -> Result<Box<dyn Fitness + 'a>, PipelineError> {
    let text = held_out(config, plm)?;
    Ok(match config.loss {
        Loss::Kd => Box::new(KdFitness::of_itself(plm, &text)?),
        Loss::Mlm => Box::new(MaskedLmFitness::new(plm, &text)?),
    })
}

/// Searches `space` under `budget` for the sub-architecture with the lowest loss. Evaluations
/// are kept in `store` and never repeated.
///
/// # Errors
/// [`PipelineError`]; in particular if no architecture meets the budget.
pub fn search_space(
    space: &Space,
    predictor: &Predictor,
    budget: &Budget,
    settings: &Settings,
    fitness: &dyn Fitness,
    store: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, PipelineError> {
    let candidates = Candidates::scan(space, predictor, budget)?;
    reporter.result(&format!(
        "{} of {} architectures are predicted at {:.2} to {:.2} ms",
        candidates.len(),
        candidates.scanned(),
        budget.low_ms(),
        budget.high_ms()
    ));
    let mut store = Store::open(store, fitness)?;
    let mut begun = false;
    let outcome = search(&candidates, fitness, &mut store, settings, &mut |progress| {
        if !begun {
            reporter.begin(0, progress.planned as u64);
            begun = true;
        }
        let best = progress.best;
        reporter.advance(&format!("best {} with loss {:.4}", best.arch, best.fitness));
    })?;
    reporter.end();
    Ok(outcome)
}
