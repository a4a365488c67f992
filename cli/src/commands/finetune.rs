//! `atb finetune`: train a model for a task.

use std::path::{Path, PathBuf};

use atb_pipeline::{FinetuneConfig, FinetuneReport, OfSeed, finetune};
use atb_ranks::Ranks;
use atb_settings::Layers;
use atb_space::Architecture;
use atb_superplm::{Accelerator, keep_freed_memory};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::FormerJson;
use crate::display::Display;
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Model to start from: a model folder, `auto` for the built-in SuperPLM, or `teacher`; or a
    /// configuration file (`.toml`) that names it, see examples/finetune.toml. The options below
    /// take precedence
    model: String,
    /// Task: a built-in name (`SST-2`, `STS-B`, `SQuAD`, ...) or the TOML file of your own
    #[arg(long)]
    task: Option<String>,
    /// Folder of the task's files, or the one above it; beside the task's TOML file if absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// File to train on, in place of the training split's
    #[arg(long, value_name = "FILE")]
    train_file: Option<PathBuf>,
    /// Architecture to cut out of the model first, as `atb extract` does
    #[arg(long)]
    arch: Option<Architecture>,
    /// Model folder to write
    #[arg(long, short, alias = "output", value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Model that was fine-tuned on the task, to be distilled from
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// How often every example is seen
    #[arg(long)]
    epochs: Option<u64>,
    /// Examples per step
    #[arg(long)]
    batch_size: Option<usize>,
    /// Learning rate at its peak
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Share of the values that dropout sets to zero
    #[arg(long)]
    dropout: Option<f64>,
    /// What all randomness depends on; given several times, the best model of all is kept
    #[arg(long = "seed", value_name = "SEED")]
    seeds: Vec<u64>,
    /// Most examples to train on, drawn evenly
    #[arg(long)]
    max_train_samples: Option<usize>,
    /// Examples of the training split that the best epoch is chosen by, at most a fifth
    #[arg(long)]
    held_out: Option<usize>,
    /// Most tokens of a text or pair
    #[arg(long)]
    sequence: Option<usize>,
    /// Where to compute: `cpu`, or `cuda` if atb was built with `--features cuda`
    #[arg(long)]
    accelerator: Option<Accelerator>,
    #[command(flatten)]
    former: FormerJson,
    #[command(flatten)]
    output: OutputArguments,
}

impl Arguments {
    fn config(&self) -> miette::Result<FinetuneConfig> {
        let layers = match self.model.ends_with(".toml") {
            true => Layers::new().file(Path::new(&self.model))?,
            false => Layers::new().flag("model", "MODEL", Some(&self.model)),
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let layers = layers
            .flag("task", "--task", self.task.as_ref())
            .flag("data", "--data", path(&self.data))
            .flag("train_file", "--train-file", path(&self.train_file))
            .flag("arch", "--arch", self.arch.as_ref())
            .flag("output", "--out", path(&self.out))
            .flag("teacher", "--teacher", self.teacher.as_ref())
            .flag("training.epochs", "--epochs", self.epochs)
            .flag("training.batch_size", "--batch-size", self.batch_size)
            .flag("training.learning_rate", "--learning-rate", self.learning_rate)
            .flag("training.dropout", "--dropout", self.dropout)
            .flag("training.accelerator", "--accelerator", self.accelerator)
            .flags("seeds", "--seed", &self.seeds)
            .flag("max_train_samples", "--max-train-samples", self.max_train_samples)
            .flag("held_out", "--held-out", self.held_out)
            .flag("evaluation.sequence", "--sequence", self.sequence)
            .flag("evaluation.span_sequence", "--sequence", self.sequence);
        Ok(FinetuneConfig::read(&layers)?)
    }
}

pub(crate) fn execute(arguments: &Arguments, ranks: &Ranks) -> miette::Result<()> {
    keep_freed_memory();
    let config = arguments.config()?;
    let report = finetune(&config, ranks, &mut Display::new())?;
    arguments.output.print(&Finetuned { report, output: config.output })
}

/// A fine-tuning, as `atb finetune --format json` prints it and as it is in `finetune.json`.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Finetuned {
    report: FinetuneReport,
    /// The model's folder.
    #[serde(skip)]
    output: PathBuf,
}

/// A score as a line of CSV.
#[derive(Serialize)]
struct Line<'a> {
    seed: u64,
    best_epoch: u64,
    held_out: Option<f64>,
    task: &'a str,
    split: &'a str,
    metric: String,
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

impl Document for Finetuned {
    fn parts(&self) -> Vec<Part> {
        vec![table(&self.report, &self.output)]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        let mut lines = Vec::new();
        for of_seed in &self.report.seeds {
            for evaluation in &of_seed.scores {
                lines.extend(evaluation.scores.iter().map(|score| Line {
                    seed: of_seed.seed,
                    best_epoch: of_seed.best_epoch,
                    held_out: of_seed.held_out,
                    task: &evaluation.task,
                    split: &evaluation.split,
                    metric: score.metric.to_string(),
                    value: score.value,
                    low: score.interval.map(|interval| interval.low),
                    high: score.interval.map(|interval| interval.high),
                }));
            }
        }
        Lines::of(&lines)
    }
}

fn table(report: &FinetuneReport, output: &Path) -> Part {
    let mut rows = vec![("model".to_owned(), output.display().to_string())];
    let percent =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.2}", 100.0 * v));
    for OfSeed { seed, best_epoch, held_out, scores, .. } in &report.seeds {
        let chosen = report.seeds.len() > 1 && *seed == report.seed;
        rows.push((
            format!("seed {seed}"),
            format!(
                "{} {} on {} held-out examples, after epoch {best_epoch}{}",
                report.metric,
                percent(*held_out),
                report.held_out,
                if chosen { "; this is the model" } else { "" }
            ),
        ));
        for evaluation in scores {
            let confidence = 100.0 * report.evaluation.confidence;
            let score = |score: &atb_tasks::Score| {
                let interval = score.interval.map_or(String::new(), |interval| {
                    let (low, high) = (percent(Some(interval.low)), percent(Some(interval.high)));
                    format!(" ({confidence:.0} %: {low} to {high})")
                });
                format!("{} {}{interval}", score.metric, percent(score.value))
            };
            let scores: Vec<String> = evaluation.scores.iter().map(score).collect();
            rows.push((format!("{} {}", evaluation.task, evaluation.split), scores.join(", ")));
        }
    }
    Part::Named(rows)
}
