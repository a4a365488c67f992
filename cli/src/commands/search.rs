//! `atb search`: search the best sub-architecture under a budget.

use std::path::PathBuf;

use atb_pipeline::{BudgetConfig, FitnessConfig, Loss, Weights, steps};
use atb_predictor::Predictor;
use atb_search::{Limits, Settings, Strategy};
use atb_space::Architecture;
use atb_targets::Target;
use clap::{Args, ValueEnum};

use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Predictor file, as `atb fit` writes it
    #[arg(long, default_value = "predictor.json")]
    predictor: PathBuf,
    /// SuperPLM: a model folder, `auto` for the built-in one, or `teacher`
    #[arg(long, default_value = "auto")]
    superplm: String,
    /// Latency aimed at, in milliseconds
    #[arg(long, conflicts_with = "speedup")]
    latency_ms: Option<f64>,
    /// How many times faster than the architecture of `--against`
    #[arg(long)]
    speedup: Option<f64>,
    /// Architecture that speed-ups are quoted against; it must have been measured
    #[arg(long, value_name = "ARCH", default_value_t = Architecture::bert_base())]
    against: Architecture,
    /// Candidates lie above this multiple of the latency aimed at
    #[arg(long, default_value_t = BudgetConfig::default().low)]
    low: f64,
    /// Candidates lie below this multiple of the latency aimed at
    #[arg(long, default_value_t = BudgetConfig::default().high)]
    high: f64,
    /// Keep the upper end of the prediction interval of this level, 0 to 1, below the band
    #[arg(long)]
    level: Option<f64>,
    /// Most parameters of the whole model
    #[arg(long)]
    max_parameters: Option<u64>,
    /// Most bytes of the model file
    #[arg(long)]
    max_file_bytes: Option<u64>,
    /// Most bytes of weights and activations in memory
    #[arg(long)]
    max_memory_bytes: Option<u64>,
    /// How candidates are chosen
    #[arg(long, value_enum, default_value_t = StrategyName::Evolved)]
    strategy: StrategyName,
    /// Architectures a generation [default: the strategy's]
    #[arg(long)]
    population: Option<usize>,
    /// Generations [default: the strategy's]
    #[arg(long)]
    generations: Option<usize>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Loss to minimise on held-out text
    #[arg(long, value_enum, default_value_t = LossName::Kd)]
    loss: LossName,
    /// Held-out text, one paragraph a line; a built-in one if absent
    #[arg(long)]
    text: Option<PathBuf>,
    /// File that keeps every evaluation; one that is there is continued
    #[arg(long, default_value = "evaluations.jsonl")]
    evaluations: PathBuf,
    /// How many of the best to print
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Measure this many of the best before one is chosen
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    measure: usize,
    /// Device to measure them on: a built-in name or a target file
    #[arg(long, default_value = "local")]
    target: String,
    /// File for those measurements; one that is there is continued
    #[arg(long, default_value = "finalists.jsonl")]
    finalists: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    /// Distance from the teacher's hidden states and attention scores
    Kd,
    /// Cross-entropy of masked tokens, for a SuperPLM that was trained by it
    Mlm,
}

impl From<LossName> for Loss {
    fn from(name: LossName) -> Self {
        match name {
            LossName::Kd => Self::Kd,
            LossName::Mlm => Self::Mlm,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StrategyName {
    /// A sample
    Random,
    /// A sample by the paper's rule of thumb
    Fast,
    /// The paper's evolutionary search
    Evolved,
    /// The same in more and smaller generations with crossover: finds good ones more often
    Steady,
    /// Evolution on a model of the loss learnt on the way
    Guided,
    /// NSGA-II over loss and latency; prints the Pareto front
    Front,
}

impl StrategyName {
    fn settings(self) -> Settings {
        let of = |strategy| Settings { strategy, ..Settings::default() };
        match self {
            Self::Random => of(Strategy::Random),
            Self::Fast => of(Strategy::Fast),
            Self::Evolved => of(Strategy::Evolved),
            Self::Steady => Settings::steady(),
            Self::Guided => of(Strategy::Guided),
            Self::Front => of(Strategy::Front),
        }
    }
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let target = Target::find(&arguments.target)?;
    let mut display = Display::new();
    let predictor = Predictor::load(&arguments.predictor)?;
    display::warn_of_no_device(&predictor);
    let weights = Weights::load(&arguments.superplm)?;
    let space = predictor.space.within(weights.plm.architecture())?;
    let budget = BudgetConfig {
        latency_ms: arguments.latency_ms,
        speedup: arguments.speedup,
        against: arguments.against.clone(),
        low: arguments.low,
        high: arguments.high,
        level: arguments.level,
        limits: Limits {
            parameters: arguments.max_parameters,
            file_bytes: arguments.max_file_bytes,
            memory_bytes: arguments.max_memory_bytes,
            vocabulary: weights.plm.config().vocab_size,
            positions: weights.plm.config().max_position_embeddings,
            ..Limits::default()
        },
    };
    let budget = steps::budget(&budget, &predictor)?;
    let fitness = FitnessConfig {
        loss: arguments.loss.into(),
        text: arguments.text.clone(),
        ..FitnessConfig::default()
    };
    let fitness = steps::loss_on_text(&fitness, &weights.plm)?;
    let settings = arguments.strategy.settings();
    let settings = Settings {
        seed: arguments.seed,
        population: arguments.population.unwrap_or(settings.population),
        generations: arguments.generations.unwrap_or(settings.generations),
        ..settings
    };
    let outcome = steps::search_space(
        &space,
        &predictor,
        &budget,
        &settings,
        fitness.as_ref(),
        &arguments.evaluations,
        &mut display,
    )?;
    outcome.winner().ok_or_else(|| miette::miette!("nothing was evaluated"))?;
    let shown = match settings.strategy {
        Strategy::Front => &outcome.front,
        _ => &outcome.ranking,
    };
    let rows = shown
        .iter()
        .take(arguments.top)
        .map(|found| {
            vec![
                found.arch.id(),
                format!("{:.3}", found.latency_ms),
                format!("{:.5}", found.fitness),
            ]
        })
        .collect();
    display::data(&display::table(&["architecture", "predicted ms", "loss"], rows))?;
    if arguments.measure > 0 {
        let finalists = steps::measure_finalists(
            &target,
            &outcome,
            arguments.measure,
            &predictor,
            &budget,
            &arguments.finalists,
            &mut display,
        )?;
        display::data(&format!("\n{}", measured(&finalists)))?;
        eprintln!(
            "the first is the one to take; `atb fit` on the old measurements and {} together \
             updates the predictor",
            arguments.finalists.display()
        );
    }
    Ok(())
}

fn measured(finalists: &[steps::Finalist]) -> String {
    let rows = finalists
        .iter()
        .map(|finalist| {
            vec![
                finalist.arch.id(),
                format!("{:.3}", finalist.predicted_ms),
                format!("{:.3}", finalist.measured_ms),
                format!("{:+.1} %", 100.0 * (finalist.measured_ms / finalist.predicted_ms - 1.0)),
                if finalist.in_band { "in" } else { "outside" }.to_owned(),
                format!("{:.5}", finalist.loss),
            ]
        })
        .collect();
    let header = ["measured", "predicted ms", "measured ms", "difference", "band", "loss"];
    display::table(&header, rows)
}
