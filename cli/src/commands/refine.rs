//! `atb refine`: measure in rounds until a predictor is good enough.

use std::path::PathBuf;

use atb_pipeline::{ProfileConfig, steps};
use atb_predictor::{RefineSettings, Refined};
use atb_search::{Band, Budget};
use atb_settings::Layers;
use atb_space::Architecture;
use atb_targets::Target;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::fit::{Errors, Fitted};
use super::{ProtocolArguments, SpaceArguments, renamed};
use crate::display::Display;
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Device: a built-in name or a target file
    #[arg(long, default_value = "local")]
    target: String,
    #[command(flatten)]
    space: SpaceArguments,
    /// Mean absolute error to reach, in per cent: cross-validated, and of a round's
    /// architectures as predicted before they were measured
    #[arg(long, value_name = "PER_CENT", default_value_t = 100.0 * RefineSettings::default().target_mape)]
    target_mape: f64,
    /// Architectures of the first round
    #[arg(long, value_name = "COUNT", default_value_t = RefineSettings::default().initial_samples)]
    initial_samples: usize,
    /// Architectures of every further round
    #[arg(long, value_name = "COUNT", default_value_t = RefineSettings::default().samples_per_round)]
    samples_per_round: usize,
    /// Most architectures in all
    #[arg(long, value_name = "COUNT", default_value_t = RefineSettings::default().max_samples)]
    max_samples: usize,
    /// Of the first round, how many to measure twice
    #[arg(long, default_value_t = ProfileConfig::default().retests)]
    retests: usize,
    /// Measure where a search for this latency looks, in milliseconds, as long as there is
    /// something to learn there
    #[arg(long, value_name = "LATENCY_MS")]
    around: Option<f64>,
    /// Architecture to measure besides, so that speed-ups can be quoted against it; several
    /// are possible
    #[arg(long = "baseline", value_name = "ARCH", default_values_t = ProfileConfig::default().baselines)]
    baselines: Vec<Architecture>,
    /// Seed of every choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long = "first", hide = true, value_parser = renamed("--initial-samples"))]
    former_first: Option<String>,
    #[arg(long = "round", hide = true, value_parser = renamed("--samples-per-round"))]
    former_round: Option<String>,
    #[arg(long = "most", hide = true, value_parser = renamed("--max-samples"))]
    former_most: Option<String>,
    #[arg(long = "error", hide = true, value_parser = renamed("--target-mape"))]
    former_error: Option<String>,
    #[command(flatten)]
    protocol: ProtocolArguments,
    /// Measurement file; an existing one is resumed
    #[arg(long, default_value = "measurements.jsonl")]
    measurements: PathBuf,
    /// Predictor file
    #[arg(long, short, default_value = "predictor.json")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

impl Arguments {
    fn settings(&self) -> miette::Result<RefineSettings> {
        let layers = Layers::new()
            .flag("initial_samples", "--initial-samples", Some(self.initial_samples))
            .flag("samples_per_round", "--samples-per-round", Some(self.samples_per_round))
            .flag("max_samples", "--max-samples", Some(self.max_samples))
            .flag("target_mape", "--target-mape", Some(self.target_mape / 100.0))
            .flag("seed", "--seed", Some(self.seed));
        let around = Layers::new().flag("latency_ms", "--around", self.around);
        let focus = around.read::<Budget>()?.latency_ms.map(|latency_ms| {
            let band = Band::paper(latency_ms);
            (band.low_ms(), band.high_ms())
        });
        Ok(RefineSettings { focus, ..layers.read()? })
    }

    /// Of what `atb profile` measures, the part that is measured here as well.
    fn first_round(&self) -> miette::Result<ProfileConfig> {
        let layers = Layers::new()
            .flag("samples", "--initial-samples", Some(self.initial_samples))
            .flag("retests", "--retests", Some(self.retests))
            .flags("baselines", "--baseline", &self.baselines);
        Ok(layers.read()?)
    }
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let settings = arguments.settings()?;
    let ProfileConfig { retests, baselines, .. } = arguments.first_round()?;
    let target = Target::find(&arguments.target)?;
    let space = arguments.space.find()?;
    let mut display = Display::new();
    let refined = steps::refine_space(
        &target,
        &space,
        &settings,
        retests,
        &baselines,
        &arguments.protocol.on(&target)?,
        &arguments.measurements,
        &mut display,
    )?;
    refined.predictor.save(&arguments.out)?;
    if !refined.reached {
        eprintln!(
            "warning: the error asked for was not reached with {} architectures; a larger \
             --max-samples or a quieter device may",
            arguments.max_samples
        );
    }
    let fitted = Fitted::of(&refined.predictor, &arguments.out, &[], &mut display)?;
    let Refined { rounds, reached, .. } = &refined;
    let rounds = rounds.iter().map(|round| MeasuredRound {
        measured: round.measured,
        cross_validated: Errors::of(&round.cross_validated),
        fresh: round.fresh.as_ref().map(Errors::of),
    });
    let rounds = rounds.collect();
    arguments.output.print(&RefinedPredictor { schema: 1, reached: *reached, rounds, fitted })
}

/// A predictor and the rounds that it came of, as `atb refine --format json` prints them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RefinedPredictor {
    /// Version of the schema: 1.
    schema: u32,
    /// Whether the error asked for was reached.
    reached: bool,
    /// The rounds, in order.
    rounds: Vec<MeasuredRound>,
    /// The predictor, as `atb fit` prints it.
    fitted: Fitted,
}

/// A round of measuring.
#[derive(Debug, Serialize, JsonSchema)]
struct MeasuredRound {
    /// Architectures measured until then.
    measured: usize,
    /// Cross-validated errors over all of them.
    cross_validated: Errors,
    /// Errors on the round's architectures as predicted before they were measured; null for the
    /// first round.
    fresh: Option<Errors>,
}

impl Document for RefinedPredictor {
    fn parts(&self) -> Vec<Part> {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let row = |round: &MeasuredRound| {
            vec![
                round.measured.to_string(),
                percent(round.cross_validated.mape),
                format!("{:.3}", round.cross_validated.tau),
                round.fresh.as_ref().map_or("-".to_owned(), |fresh| percent(fresh.mape)),
            ]
        };
        let header = ["measured", "MAPE cross-validated", "Kendall tau", "MAPE of the new ones"];
        let mut parts = vec![Part::numbers(&header, self.rounds.iter().map(row).collect())];
        parts.extend(self.fitted.parts());
        parts
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.rounds)
    }
}
