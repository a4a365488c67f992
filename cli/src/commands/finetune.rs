//! `atb finetune`: train a model for a task.

use std::path::{Path, PathBuf};

use atb_pipeline::{FinetuneConfig, FinetuneReport, OfSeed, finetune};
use atb_ranks::Ranks;
use atb_settings::Layers;
use atb_space::Architecture;
use atb_superplm::{Accelerator, keep_freed_memory};
use clap::Args;
use miette::IntoDiagnostic;

use crate::display::{self, Display};

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
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
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
    if arguments.json {
        return display::data(&serde_json::to_string_pretty(&report).into_diagnostic()?);
    }
    display::data(&table(&report, &config.output))
}

fn table(report: &FinetuneReport, output: &Path) -> String {
    let mut rows = vec![vec!["model".to_owned(), output.display().to_string()]];
    let percent =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.2}", 100.0 * v));
    for OfSeed { seed, best_epoch, held_out, scores, .. } in &report.seeds {
        let chosen = report.seeds.len() > 1 && *seed == report.seed;
        rows.push(vec![
            format!("seed {seed}"),
            format!(
                "{} {} on {} held-out examples, after epoch {best_epoch}{}",
                report.metric,
                percent(*held_out),
                report.held_out,
                if chosen { "; this is the model" } else { "" }
            ),
        ]);
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
            rows.push(vec![format!("{} {}", evaluation.task, evaluation.split), scores.join(", ")]);
        }
    }
    display::table(&[], rows)
}
