//! `atb train`: train a SuperPLM, or one architecture further.

use std::path::PathBuf;

use atb_pipeline::{TrainConfig, train};
use atb_ranks::Ranks;
use atb_settings::Layers;
use atb_space::Architecture;
use atb_superplm::{Accelerator, Outcome, Stopped, keep_freed_memory};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::renamed;
use crate::display::Display;
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file; examples/train.toml documents every key. The options below take
    /// precedence
    config: Option<PathBuf>,
    /// Text to train on, one paragraph a line, a blank line between documents; repeatable
    #[arg(long, value_name = "FILE")]
    text: Vec<PathBuf>,
    /// What to start from: `teacher`, `random`, `auto` for the built-in SuperPLM, or a model folder
    #[arg(long)]
    start: Option<String>,
    /// Size of the SuperPLM to make of it, `L-dm-df-h-dq`: leading slices, layers chosen evenly
    #[arg(long, value_name = "ARCH")]
    size: Option<Architecture>,
    /// Train only this architecture of it
    #[arg(long)]
    arch: Option<Architecture>,
    /// What is minimised: `kd` (distillation), `mlm` (masked language modelling) or `sentence`
    /// (distillation of sentence embeddings)
    #[arg(long)]
    objective: Option<String>,
    /// Where to compute: `cpu`, or `cuda` if atb was built with `--features cuda`
    #[arg(long)]
    accelerator: Option<Accelerator>,
    /// Optimizer steps
    #[arg(long)]
    steps: Option<u64>,
    /// Stop at a checkpoint after this time (90m, 2h); the same command continues there
    #[arg(long, value_name = "TIME")]
    time_limit: Option<String>,
    /// Folder of everything that the training makes; a training that is already there is
    /// resumed
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Former name of `--time-limit`
    #[arg(long = "for", hide = true, value_parser = renamed("--time-limit"))]
    former_for: Option<String>,
    /// Former name of `--accelerator`
    #[arg(long = "device", hide = true, value_parser = renamed("--accelerator"))]
    former_device: Option<String>,
    #[command(flatten)]
    output: OutputArguments,
}

/// What a training has come to, as `atb train --format json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Trained {
    /// Version of the schema: 1.
    schema: u32,
    /// Model folder: the trained model, or the last checkpoint.
    model: String,
    /// Steps made, those of earlier runs included.
    steps: u64,
    /// Why it ended: `completed`, `time-limit` or `interrupted`.
    stopped: String,
    /// The panel's losses on held-out text.
    validation: Vec<Validated>,
}

/// The loss of an architecture.
#[derive(Debug, Serialize, JsonSchema)]
struct Validated {
    /// The architecture.
    architecture: String,
    /// Its loss.
    loss: f64,
}

impl Arguments {
    fn config(&self) -> miette::Result<TrainConfig> {
        let layers = match &self.config {
            Some(path) => Layers::new().file(path)?,
            None => Layers::new(),
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let layers = layers
            .flags("text", "--text", self.text.iter().map(|text| text.display()))
            .flag("start", "--start", self.start.as_ref())
            .flag("size", "--size", self.size.as_ref())
            .flag("arch", "--arch", self.arch.as_ref())
            .flag("objective", "--objective", self.objective.as_ref())
            .flag("accelerator", "--accelerator", self.accelerator)
            .flag("schedule.steps", "--steps", self.steps)
            .flag("time_limit", "--time-limit", self.time_limit.as_ref())
            .flag("output", "--out", path(&self.out));
        Ok(TrainConfig::read(layers)?)
    }
}

pub(crate) fn execute(arguments: &Arguments, ranks: &Ranks) -> miette::Result<()> {
    keep_freed_memory();
    let outcome = train(&arguments.config()?, ranks, &mut Display::new())?;
    arguments.output.print(&Trained::of(&outcome))
}

impl Trained {
    fn of(outcome: &Outcome) -> Self {
        let stopped = match outcome.stopped {
            Stopped::Completed => "completed",
            Stopped::TimeLimit => "time-limit",
            Stopped::Asked => "interrupted",
        };
        let folder = outcome.model.as_ref().unwrap_or(&outcome.checkpoint);
        let validated =
            |(arch, loss): &(Architecture, f64)| Validated { architecture: arch.id(), loss: *loss };
        Self {
            schema: 1,
            model: folder.display().to_string(),
            steps: outcome.steps,
            stopped: stopped.to_owned(),
            validation: outcome.validation.iter().map(validated).collect(),
        }
    }
}

impl Document for Trained {
    fn parts(&self) -> Vec<Part> {
        let stopped = match self.stopped.as_str() {
            "completed" => "all are made",
            "time-limit" => "the time is up; the same command continues",
            _ => "interrupted; the same command continues",
        };
        let head = [
            ("model".to_owned(), self.model.clone()),
            ("steps".to_owned(), format!("{} ({stopped})", self.steps)),
        ];
        let loss =
            |it: &Validated| (it.architecture.clone(), format!("held-out loss {:.4}", it.loss));
        vec![Part::named(head.into_iter().chain(self.validation.iter().map(loss)))]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.validation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_as_a_user_sees_it() {
        let outcome = Outcome {
            steps: 1200,
            stopped: Stopped::TimeLimit,
            checkpoint: "atb-train/checkpoints/step-00001200".into(),
            model: None,
            validation: vec![
                ("1-128-128-12-180".parse().expect("an architecture"), 3.25),
                ("6-256-736-12-252".parse().expect("an architecture"), 0.75),
            ],
        };
        insta::assert_snapshot!(crate::output::text(&Trained::of(&outcome)), @r"
        model             atb-train/checkpoints/step-00001200
        steps             1200 (the time is up; the same command continues)
        1-128-128-12-180  held-out loss 3.2500
        6-256-736-12-252  held-out loss 0.7500
        ");
    }
}
