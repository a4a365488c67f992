//! `atb search`: search the best sub-architecture under a budget.

use std::path::PathBuf;

use atb_pipeline::{Config, Loss, Weights, steps};
use atb_predictor::Predictor;
use atb_ranks::Ranks;
use atb_search::{Candidates, Evaluated, Strategy};
use atb_settings::{Layers, Source};
use atb_space::Architecture;
use atb_targets::Target;
use atb_tasks::Interval;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use schemars::JsonSchema;
use serde::Serialize;

use super::renamed;
use crate::display::{self, Display};
use crate::output::{Document, Lines, OutputArguments, Part};

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
    #[command(flatten)]
    output: OutputArguments,
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
    let mut found = Found {
        schema: 1,
        latency_ms: band.target_ms,
        candidates: outcome.candidates,
        evaluated: outcome.ranking.len(),
        architectures: shown.iter().take(arguments.top).map(Ranked::of).collect(),
        rules: None,
        finalists: None,
    };
    if arguments.explain {
        let candidates = Candidates::scan(&space, &predictor, &budget)?;
        let rivals = steps::rivals(&candidates, &outcome, fitness.as_ref())?;
        let table = match outcome.winner() {
            Some(winner) => steps::StaticTable::beside(&winner.arch, fitness.as_ref())?,
            None => None,
        };
        found.rules = Some(rivals.iter().map(Rule::of).chain(table.map(Rule::of_table)).collect());
        if table.is_some_and(|table| !table.is_beaten()) {
            eprintln!(
                "warning: the best is not recommended: a static table of word embeddings, which \
                 takes no time, is as good"
            );
        }
    }
    if arguments.measure > 0 {
        let measured = steps::measure_finalists(
            &target,
            &outcome.ranking[..finalists.min(outcome.ranking.len())],
            fitness.as_ref(),
            &predictor,
            &band,
            &arguments.finalists,
            &mut display,
        );
        match measured {
            Ok(measured) => found.finalists = Some(measured.iter().map(Measured::of).collect()),
            // What the search has found is worth seeing all the same.
            Err(error) => {
                arguments.output.print(&found)?;
                return Err(error.into());
            }
        }
    }
    arguments.output.print(&found)?;
    if found.finalists.is_some() {
        display::progress(&format!(
            "the first is the one to take; `atb fit` on the old measurements and {} together \
             updates the predictor",
            arguments.finalists.display()
        ));
    }
    Ok(())
}

/// What a search found, as `atb search --format json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    /// Version of the schema: 1.
    schema: u32,
    /// The latency aimed at, in milliseconds.
    latency_ms: f64,
    /// Architectures that meet the budget.
    candidates: u64,
    /// Those of them whose loss was computed.
    evaluated: usize,
    /// The best of those, or the Pareto front of a strategy that looks for one.
    architectures: Vec<Ranked>,
    /// What rules of thumb choose; null without `--explain`.
    rules: Option<Vec<Rule>>,
    /// The best as measured, the one to take first; null without `--measure`.
    finalists: Option<Vec<Measured>>,
}

/// An architecture that was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Ranked {
    /// The architecture.
    architecture: String,
    /// Its predicted latency, in milliseconds.
    predicted_ms: f64,
    /// Its loss; lower is better.
    loss: f64,
}

impl Ranked {
    fn of(found: &Evaluated) -> Self {
        Self { architecture: found.arch.id(), predicted_ms: found.latency_ms, loss: found.fitness }
    }
}

/// By how much a loss is above another, on the same text.
#[derive(Debug, Serialize, JsonSchema)]
struct Above {
    /// The difference.
    value: f64,
    /// Where it lies if the text is drawn again, in 95 % of the draws; null for a loss of the whole
    /// text.
    interval: Option<Interval>,
}

impl Above {
    fn of(difference: &steps::LossDifference) -> Self {
        Self { value: difference.value, interval: difference.interval }
    }

    fn text(&self) -> String {
        match self.interval {
            Some(Interval { low, high }) => format!("{low:+.4} to {high:+.4}"),
            None => format!("{:+.4}", self.value),
        }
    }
}

/// What a rule of thumb chooses.
#[derive(Debug, Serialize, JsonSchema)]
struct Rule {
    /// The rule.
    rule: String,
    /// What it chooses; several where it names many, of which these were drawn, and none of a table
    /// of word embeddings.
    architectures: Vec<String>,
    /// Their predicted latency on average, in milliseconds; null of a table, which takes no time.
    predicted_ms: Option<f64>,
    /// Their loss on average.
    loss: f64,
    /// Their average loss above that of the best.
    above_best: Above,
}

impl Rule {
    fn of(rival: &steps::Rival) -> Self {
        Self {
            rule: rival.rule.to_owned(),
            architectures: rival.architectures.iter().map(Architecture::id).collect(),
            predicted_ms: Some(rival.latency_ms),
            loss: rival.loss,
            above_best: Above::of(&rival.above_winner),
        }
    }

    fn of_table(table: steps::StaticTable) -> Self {
        Self {
            rule: "static table".to_owned(),
            architectures: Vec::new(),
            predicted_ms: None,
            loss: table.loss,
            above_best: Above::of(&table.above_winner),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.rule.clone(),
            match &self.architectures[..] {
                [] => "no layer".to_owned(),
                [one] => one.clone(),
                several => format!("{} of them", several.len()),
            },
            self.predicted_ms.map_or("-".to_owned(), |ms| format!("{ms:.3}")),
            format!("{:.4}", self.loss),
            self.above_best.text(),
        ]
    }
}

/// One of the best, measured.
#[derive(Debug, Serialize, JsonSchema)]
struct Measured {
    /// The architecture.
    architecture: String,
    /// Its latency as predicted, in milliseconds.
    predicted_ms: f64,
    /// The interval that 90 % of measurements lie in.
    interval_ms: (f64, f64),
    /// Its latency as measured.
    measured_ms: f64,
    /// Whether that lies in the budget's band.
    in_band: bool,
    /// Its loss.
    loss: f64,
    /// That loss above the lowest of the finalists'.
    above_lowest: Above,
}

impl Measured {
    fn of(finalist: &steps::Finalist) -> Self {
        Self {
            architecture: finalist.arch.id(),
            predicted_ms: finalist.predicted_ms,
            interval_ms: finalist.interval_ms,
            measured_ms: finalist.measured_ms,
            in_band: finalist.in_band,
            loss: finalist.loss,
            above_lowest: Above::of(&finalist.above_lowest),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.architecture.clone(),
            format!("{:.3}", self.predicted_ms),
            format!("{:.3}", self.measured_ms),
            format!("{:+.1} %", 100.0 * (self.measured_ms / self.predicted_ms - 1.0)),
            if self.in_band { "in" } else { "out" }.to_owned(),
            format!("{:.4}", self.loss),
            self.above_lowest.text(),
        ]
    }
}

impl Document for Found {
    fn parts(&self) -> Vec<Part> {
        let row = |it: &Ranked| {
            let Ranked { architecture, predicted_ms, loss } = it;
            vec![architecture.clone(), format!("{predicted_ms:.3}"), format!("{loss:.5}")]
        };
        let header = ["architecture", "predicted ms", "loss"];
        let mut parts = vec![Part::numbers(&header, self.architectures.iter().map(row).collect())];
        if let Some(rules) = &self.rules {
            let header = ["rule", "architecture", "ms", "loss", "above the best"];
            parts.push(Part::numbers(&header, rules.iter().map(Rule::row).collect()));
        }
        if let Some(finalists) = &self.finalists {
            let header =
                ["measured", "predicted", "ms", "off by", "band", "loss", "above the lowest"];
            parts.push(Part::numbers(&header, finalists.iter().map(Measured::row).collect()));
        }
        parts
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        match &self.finalists {
            Some(finalists) => Lines::of(finalists),
            None => Lines::of(&self.architectures),
        }
    }
}
