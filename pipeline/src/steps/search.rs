//! Searching under a budget.

use std::path::Path;
use std::sync::Arc;

use atb_predictor::Predictor;
use atb_ranks::Ranks;
use atb_search::{
    Budget, Candidates, EvaluationError, Fitness, Outcome, Settings, Store, search_across,
};
use atb_settings::{Checked, OutOfRange, Violation};
use atb_space::{Architecture, Space};
use atb_superplm::{
    KdFitness, Layout, MaskedLmFitness, PlmError, SentenceFitness, SuperPlm, TeacherEmbeddings,
};
use atb_text::{Corpus, Encoded, HELD_OUT};

use crate::superplm::teacher;
use crate::{FitnessConfig, HeldOutConfig, Loss, PipelineError, Reporter};

/// The held-out text of `config` as token ids of `plm`.
///
/// # Errors
/// [`PipelineError::Text`] naming file and line, [`PipelineError::OutOfRange`] if its sequences
/// are longer than `plm` takes.
pub fn held_out(config: &HeldOutConfig, plm: &SuperPlm) -> Result<Encoded, PipelineError> {
    config.checked()?;
    let positions = plm.config().max_position_embeddings;
    if config.sequence_length > positions {
        let key = "sequence_length".to_owned();
        let value = config.sequence_length.to_string();
        let expected =
            format!("at most {positions} for held-out text, the positions that the model has");
        return Err(OutOfRange { violations: vec![Violation { key, value, expected }] }.into());
    }
    let layout = if config.sentences { Layout::Sentences } else { Layout::Paragraphs };
    let mut texts = Vec::new();
    let mut take = |paragraph: Result<atb_text::Paragraph, atb_text::TextError>| {
        texts.extend(layout.texts(&paragraph?.text).into_iter().map(str::to_owned));
        Ok::<(), PipelineError>(())
    };
    match &config.text {
        Some(path) => Corpus::open(path)?.take(config.paragraphs).try_for_each(&mut take)?,
        None => Corpus::new("built-in text", HELD_OUT.as_bytes())
            .take(config.paragraphs)
            .try_for_each(&mut take)?,
    }
    Ok(plm.tokenizer().encode_batch(texts.iter().map(String::as_str), config.sequence_length)?)
}

/// The loss that `config` asks for, of sub-models of `plm` on its held-out text.
///
/// # Errors
/// [`PipelineError`] if the text is at fault or the SuperPLM has no such loss.
pub fn loss_on_text<'a>(
    config: &FitnessConfig,
    plm: &'a SuperPlm,
) -> Result<Box<dyn Fitness + 'a>, PipelineError> {
    let text = held_out(&config.held_out(), plm)?;
    let teacher = match (&config.teacher, config.loss) {
        (Some(choice), Loss::Sentence | Loss::Kd) => Some(teacher(choice)?),
        _ => None,
    };
    Ok(match config.loss {
        Loss::Sentence => {
            let embeddings = match (&teacher, plm.teacher_embeddings()) {
                (Some(teacher), _) => TeacherEmbeddings::new(teacher, &text)?,
                (None, Some(kept)) if kept.is_of(&text) => kept.clone(),
                (None, _) => TeacherEmbeddings::of_itself(plm, &text)?,
            };
            let sentence = SentenceFitness::new(plm, &embeddings, &text)?;
            let digest = sentence.digest().to_owned();
            let sentence = Arc::new(sentence);
            let of_table = Arc::clone(&sentence);
            let static_table: Option<StaticTable<'_>> =
                Some(Box::new(move || of_table.losses_of_static_table()));
            let losses = move |arch: &_| sentence.losses(arch);
            Box::new(OnText { name: "sentence-loss", digest, static_table, losses })
        }
        Loss::Kd => {
            let kd = match &teacher {
                Some(teacher) => KdFitness::new(plm, teacher, &text)?,
                None => KdFitness::of_itself(plm, &text)?,
            };
            let digest = kd.digest().to_owned();
            let losses = move |arch: &_| kd.losses(arch);
            Box::new(OnText { name: "kd-loss", digest, static_table: None, losses })
        }
        Loss::Mlm => {
            let mlm = MaskedLmFitness::new(plm, &text)?;
            let digest = mlm.digest().to_owned();
            let losses = move |arch: &_| mlm.losses(arch);
            Box::new(OnText { name: "mlm-loss", digest, static_table: None, losses })
        }
    })
}

/// What a model without layers loses, computed when it is asked for.
type StaticTable<'a> = Box<dyn Fn() -> Result<Vec<f64>, PlmError> + Sync + 'a>;

/// A loss of sub-models on held-out text as what a search minimises.
struct OnText<'a, F> {
    /// What it is called in files.
    name: &'static str,
    digest: String,
    static_table: Option<StaticTable<'a>>,
    /// Its parts.
    losses: F,
}

impl<F: Fn(&Architecture) -> Result<Vec<f64>, PlmError> + Sync> Fitness for OnText<'_, F> {
    fn name(&self) -> &str {
        self.name
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn evaluate(&self, arch: &Architecture) -> Result<f64, EvaluationError> {
        let losses = self.parts(arch)?;
        Ok(losses.iter().sum::<f64>() / losses.len() as f64)
    }

    fn parts(&self, arch: &Architecture) -> Result<Vec<f64>, EvaluationError> {
        Ok((self.losses)(arch)?)
    }

    fn static_table(&self) -> Result<Option<Vec<f64>>, EvaluationError> {
        Ok(self.static_table.as_ref().map(|losses| losses()).transpose()?)
    }
}

/// Searches `space` under `budget` for the sub-architecture with the lowest loss. Evaluations
/// are kept in `store` and never repeated.
///
/// All ranks of a job call this with the same arguments; the evaluations are shared out, and only
/// rank 0 has the store.
///
/// # Errors
/// [`PipelineError`]; in particular if no architecture meets the budget.
#[expect(clippy::too_many_arguments, reason = "each is what a search depends on")]
pub fn search_space(
    ranks: &Ranks,
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
        candidates.band().low_ms(),
        candidates.band().high_ms()
    ));
    let mut store = match ranks.is_first() {
        true => Store::open(store, fitness)?,
        false => Store::in_memory(),
    };
    let mut begun = false;
    let outcome =
        search_across(ranks, &candidates, fitness, &mut store, settings, &mut |progress| {
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
