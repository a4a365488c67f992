//! `atb search`: search the best sub-architecture under a budget.

use std::path::PathBuf;

use atb_pipeline::{Config, Loss, Weights, steps};
use atb_predictor::Predictor;
use atb_ranks::Ranks;
use atb_search::{Candidates, Strategy};
use atb_settings::{Layers, Source};
use atb_space::Architecture;
use atb_targets::Target;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::renamed;
use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file of `atb run`, of which `target`, `superplm` and the tables `budget`,
    /// `search` and `fitness` count here; examples/host.toml documents every key. The options
    /// below take precedence
    config: Option<PathBuf>,
    /// Predictor file, as `atb fit` writes it
    #[arg(long, default_value = "predictor.json")]
    predictor: PathBuf,
    /// SuperPLM: a model folder, `auto` for the built-in one, or `teacher` [default: auto]
    #[arg(long)]
    superplm: Option<String>,
    /// Latency aimed at, in milliseconds
    #[arg(long, conflicts_with = "speedup")]
    latency_ms: Option<f64>,
    /// How many times faster than the baseline [default: 16]
    #[arg(long)]
    speedup: Option<f64>,
    /// Architecture that speed-ups are quoted against, BERT-base by default; it must have been
    /// measured
    #[arg(long, value_name = "ARCH")]
    baseline: Option<Architecture>,
    /// Candidates lie above this multiple of the latency aimed at [default: 0.85]
    #[arg(long)]
    low: Option<f64>,
    /// Candidates lie below this multiple of the latency aimed at [default: 1.1]
    #[arg(long)]
    high: Option<f64>,
    /// Keep the upper end of the prediction interval of this confidence level, 0 to 1, below the
    /// band's
    #[arg(long, value_name = "LEVEL")]
    confidence_level: Option<f64>,
    /// Most parameters of the whole model
    #[arg(long)]
    max_parameters: Option<u64>,
    /// Most bytes of the model file
    #[arg(long)]
    max_file_bytes: Option<u64>,
    /// Most bytes of weights and activations in memory
    #[arg(long)]
    max_memory_bytes: Option<u64>,
    /// How candidates are chosen [default: evolutionary]
    #[arg(long, value_parser = strategies())]
    strategy: Option<String>,
    /// Architectures per generation [default: the strategy's]
    #[arg(long)]
    population: Option<usize>,
    /// Generations [default: the strategy's]
    #[arg(long)]
    generations: Option<usize>,
    /// Seed of every random choice [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Loss to minimise on held-out text [default: sentence]
    #[arg(long, value_parser = losses())]
    loss: Option<String>,
    /// Teacher that sub-models are compared with: a model folder, or `auto` for all-MiniLM-L6-v2; by
    /// default what the SuperPLM keeps of its teacher, else the whole SuperPLM
    #[arg(long)]
    teacher: Option<String>,
    /// Held-out text, one paragraph a line; a built-in one if absent
    #[arg(long)]
    text: Option<PathBuf>,
    /// File that keeps every evaluation; an existing file is resumed
    #[arg(long, default_value = "evaluations.jsonl")]
    evaluations: PathBuf,
    /// How many of the best to print
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Print beside the winner what rules of thumb choose among the same candidates: the most
    /// parameters, the largest hidden size, the paper's fast rule, and a random choice
    #[arg(long)]
    explain: bool,
    /// Measure this many of the best before one is chosen
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    measure: usize,
    /// Device to measure them on: a built-in name or a target file [default: local]
    #[arg(long)]
    target: Option<String>,
    /// File for those measurements; an existing file is resumed
    #[arg(long, default_value = "finalists.jsonl")]
    finalists: PathBuf,
    /// Former name of `--baseline`
    #[arg(long = "against", hide = true, value_parser = renamed("--baseline"))]
    former_against: Option<String>,
    /// Former name of `--confidence-level`
    #[arg(long = "level", hide = true, value_parser = renamed("--confidence-level"))]
    former_level: Option<String>,
}

/// The strategies that there are. Former names pass here; the layers refuse them by the present
/// ones.
fn strategies() -> PossibleValuesParser {
    let known = |strategy: &Strategy| PossibleValue::new(strategy.name).help(strategy.about);
    let former = Strategy::former_names().map(|(old, _)| PossibleValue::new(old).hide(true));
    Strategy::ALL.iter().map(known).chain(former).collect::<Vec<_>>().into()
}

fn losses() -> PossibleValuesParser {
    let known = |loss: Loss| PossibleValue::new(loss.name()).help(loss.about());
    Loss::ALL.map(known).into()
}

impl Arguments {
    fn layers(&self) -> miette::Result<Layers> {
        let mut layers = match &self.config {
            Some(path) => Config::layers().file(path)?,
            None => Config::layers(),
        };
        // A budget is one of the two: what is asked for here takes the other's place.
        if self.latency_ms.is_some() {
            layers = layers.without("budget.speedup");
        }
        if self.speedup.is_some() {
            layers = layers.without("budget.latency_ms");
        }
        Ok(layers
            .flag("target", "--target", self.target.as_ref())
            .flag("superplm", "--superplm", self.superplm.as_ref())
            .flag("finalists", "--measure", (self.measure > 0).then_some(self.measure))
            .flag("budget.latency_ms", "--latency-ms", self.latency_ms)
            .flag("budget.speedup", "--speedup", self.speedup)
            .flag("budget.baseline", "--baseline", self.baseline.as_ref())
            .flag("budget.low", "--low", self.low)
            .flag("budget.high", "--high", self.high)
            .flag("budget.confidence_level", "--confidence-level", self.confidence_level)
            .flag("budget.limits.parameters", "--max-parameters", self.max_parameters)
            .flag("budget.limits.file_bytes", "--max-file-bytes", self.max_file_bytes)
            .flag("budget.limits.memory_bytes", "--max-memory-bytes", self.max_memory_bytes)
            .flag("search.strategy", "--strategy", self.strategy.as_ref())
            .flag("search.population", "--population", self.population)
            .flag("search.generations", "--generations", self.generations)
            .flag("search.seed", "--seed", self.seed)
            .flag("fitness.loss", "--loss", self.loss.as_ref())
            .flag("fitness.teacher", "--teacher", self.teacher.as_ref())
            .flag("fitness.text", "--text", self.text.as_ref().map(|text| text.display())))
    }
}

pub(crate) fn execute(arguments: &Arguments, ranks: &Ranks) -> miette::Result<()> {
    let layers = arguments.layers()?;
    let Config { target, superplm, mut budget, search: settings, fitness, finalists, .. } =
        layers.read()?;
    let target = Target::find(&target)?;
    let mut display = Display::new();
    let predictor = Predictor::load(&arguments.predictor)?;
    display::warn_of_no_device(&predictor);
    let band = budget.on(&predictor)?;
    let weights = Weights::load(&superplm)?;
    let space = predictor.space.within(weights.plm.architecture())?;
    // Sizes that the configuration leaves open are the SuperPLM's.
    let is_open = |key| layers.source_of(key) == Source::Default;
    if is_open("budget.limits.vocabulary") {
        budget.limits.vocabulary = weights.plm.config().vocab_size;
    }
    if is_open("budget.limits.positions") {
        budget.limits.positions = weights.plm.config().max_position_embeddings;
    }
    let fitness = steps::loss_on_text(&fitness, &weights.plm)?;
    let outcome = steps::search_space(
        ranks,
        &space,
        &predictor,
        &budget,
        &settings,
        fitness.as_ref(),
        &arguments.evaluations,
        &mut display,
    )?;
    if !ranks.is_first() {
        return Ok(());
    }
    outcome.winner().ok_or_else(|| miette::miette!("nothing was evaluated"))?;
    let shown = match settings.strategy.is_multi_objective {
        true => &outcome.front,
        false => &outcome.ranking,
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
    if arguments.explain {
        let candidates = Candidates::scan(&space, &predictor, &budget)?;
        let rivals = steps::rivals(&candidates, &outcome, fitness.as_ref())?;
        let table = match outcome.winner() {
            Some(winner) => steps::StaticTable::beside(&winner.arch, fitness.as_ref())?,
            None => None,
        };
        display::data(&format!("\n{}", beside_winner(&rivals, table)))?;
        if table.is_some_and(|table| !table.is_beaten()) {
            eprintln!(
                "warning: the best is not recommended: a static table of word embeddings, which \
                 takes no time, is as good"
            );
        }
    }
    if arguments.measure > 0 {
        let finalists = steps::measure_finalists(
            &target,
            &outcome.ranking[..finalists.min(outcome.ranking.len())],
            fitness.as_ref(),
            &predictor,
            &band,
            &arguments.finalists,
            &mut display,
        )?;
        display::data(&format!("\n{}", measured(&finalists)))?;
        display::note(&format!(
            "the first is the one to take; `atb fit` on the old measurements and {} together \
             updates the predictor",
            arguments.finalists.display()
        ));
    }
    Ok(())
}

fn beside_winner(rivals: &[steps::Rival], table: Option<steps::StaticTable>) -> String {
    let rows = rivals
        .iter()
        .map(|rival| {
            vec![
                rival.rule.to_owned(),
                match &rival.architectures[..] {
                    [one] => one.id(),
                    several => format!("{} of them", several.len()),
                },
                format!("{:.3}", rival.latency_ms),
                format!("{:.5}", rival.loss),
                display::loss_difference(&rival.above_winner),
            ]
        })
        .chain(table.map(|table| {
            vec![
                "static table".to_owned(),
                "no layer".to_owned(),
                "-".to_owned(),
                format!("{:.5}", table.loss),
                display::loss_difference(&table.above_winner),
            ]
        }))
        .collect();
    display::table(&["rule", "architecture", "predicted ms", "loss", "above the best"], rows)
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
                display::loss_difference(&finalist.above_lowest),
            ]
        })
        .collect();
    let header = [
        "measured",
        "predicted ms",
        "measured ms",
        "difference",
        "band",
        "loss",
        "above the lowest",
    ];
    display::table(&header, rows)
}
