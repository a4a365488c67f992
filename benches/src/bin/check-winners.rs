//! Searches at several budgets, measures each winner, and writes how far the predictions
//! were off (`winners.md`, `winners.jsonl`).

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use atb_benches::write_text;
use atb_measurements::MeasurementFile;
use atb_pipeline::steps::{self, Finalist};
use atb_pipeline::{FitnessConfig, Quiet, Weights};
use atb_predictor::{FitSettings, Observations, Predictor};
use atb_ranks::Ranks;
use atb_search::{Budget, Settings};
use atb_space::{Architecture, Space};
use atb_superplm::SuperPlm;
use atb_targets::Target;
use atb_text::Tokenizer;
use clap::Parser;

/// Searches at several speed-ups and measures the winners.
#[derive(Parser)]
struct Arguments {
    /// Folder with `designed.jsonl`, which the predictor is fitted on; the results go there.
    #[arg(long, default_value = "benches/predictors/kd")]
    folder: PathBuf,
    /// Speed-ups against BERT-base.
    #[arg(long, value_delimiter = ',', default_values_t = [2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 14.0, 18.0, 24.0, 30.0])]
    speedups: Vec<f64>,
    /// The device that the predictor is for.
    #[arg(long, default_value = "benches/host.toml")]
    target: String,
    /// SuperPLM for the budgets that it can meet, a model folder or `auto`.
    #[arg(long, default_value = "auto")]
    superplm: String,
    /// Where the evaluations are kept.
    #[arg(long, default_value = "evaluations")]
    evaluations: PathBuf,
}

/// Stands in where a budget allows more than the SuperPLM holds. Its weights are random:
/// what it finds is where a search looks, not a good model.
const STAND_IN: &str = "8-768-3072-12-768";

/// One search and what came of it.
struct Checked {
    speedup: f64,
    trained: bool,
    winner: Finalist,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let target = Target::find(&arguments.target)?;
    let measured = MeasurementFile::read(&arguments.folder.join("designed.jsonl"))?;
    let space = Space::paper_kd();
    let observations = Observations::from_file(&measured)?;
    let predictor = Predictor::fit(&observations, &space, &FitSettings::default())?;
    let trained = Weights::load(&arguments.superplm)?.plm;
    let stand_in = SuperPlm::random(STAND_IN.parse()?, Tokenizer::bert_uncased()?, 0)?;
    std::fs::create_dir_all(&arguments.evaluations)
        .with_context(|| format!("cannot make {}", arguments.evaluations.display()))?;

    let mut checked = Vec::new();
    for &speedup in &arguments.speedups {
        let budget = Budget { speedup: Some(speedup), ..Budget::default() };
        let band = budget.on(&predictor)?;
        let fits = predictor.value(trained.architecture()) >= band.target_ms;
        let plm = if fits { &trained } else { &stand_in };
        // The stand-in is large, and what it says worth little: two paragraphs do.
        let fitness = FitnessConfig {
            paragraphs: if fits { FitnessConfig::default().paragraphs } else { 2 },
            ..FitnessConfig::default()
        };
        let loss = steps::loss_on_text(&fitness, plm)?;
        let outcome = steps::search_space(
            &Ranks::alone(),
            &space.within(plm.architecture())?,
            &predictor,
            &budget,
            &Settings::default(),
            loss.as_ref(),
            &arguments.evaluations.join(format!("{speedup}.jsonl")),
            &mut Quiet,
        )?;
        let file = arguments.folder.join("winners.jsonl");
        let (best, loss) = (&outcome.ranking[..1.min(outcome.ranking.len())], loss.as_ref());
        let finalists =
            steps::measure_finalists(&target, best, loss, &predictor, &band, &file, &mut Quiet)?;
        let winner = finalists.into_iter().next().context("the search found nothing")?;
        eprintln!(
            "{speedup} times: {} predicted {:.3} ms, measured {:.3} ms",
            winner.arch, winner.predicted_ms, winner.measured_ms
        );
        checked.push(Checked { speedup, trained: fits, winner });
    }
    let text = report(&checked, observations.items.len(), trained.architecture());
    let path = arguments.folder.join("winners.md");
    write_text(&path, &text)?;
    print!("{text}");
    Ok(())
}

fn report(checked: &[Checked], fitted_on: usize, trained: &Architecture) -> String {
    let error = |winner: &Finalist| winner.predicted_ms / winner.measured_ms - 1.0;
    let covered = |winner: &Finalist| {
        (winner.interval_ms.0..=winner.interval_ms.1).contains(&winner.measured_ms)
    };
    let mean = checked.iter().map(|item| error(&item.winner).abs()).sum::<f64>()
        / checked.len().max(1) as f64;
    let inside = checked.iter().filter(|item| covered(&item.winner)).count();
    let above =
        checked.iter().filter(|item| item.winner.measured_ms > item.winner.interval_ms.1).count();
    let mut text = format!(
        "# Winners of searches, measured\n\nThe predictor was fitted on {fitted_on} architectures \
         (`designed.jsonl`). Each search is evolved with the paper's settings, for the lowest KD \
         loss; the winner was measured afterwards (`winners.jsonl`). Budgets that allow more than \
         the SuperPLM {trained} holds were searched with an untrained one of {STAND_IN}.\n\nMean \
         error {:.2} %; {inside} of {} inside the 90 % interval, {above} above it.\n\n| speed-up | \
         winner | weights | predicted | 90 % interval | measured | error |\n|---|---|---|---|---|---|---|\n",
        100.0 * mean,
        checked.len()
    );
    for Checked { speedup, trained, winner } in checked {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {speedup} | {} | {} | {:.2} ms | {:.2} to {:.2} ms | {:.2} ms | {:+.1} % |",
            winner.arch,
            if *trained { "trained" } else { "untrained" },
            winner.predicted_ms,
            winner.interval_ms.0,
            winner.interval_ms.1,
            winner.measured_ms,
            100.0 * error(winner)
        );
    }
    text
}
