//! `atb train`: train a SuperPLM, or one architecture further.

use std::path::PathBuf;
use std::time::Duration;

use atb_pipeline::{TrainConfig, parse_duration, train};
use atb_space::Architecture;
use atb_superplm::{Outcome, Stopped, TrainDevice, keep_freed_memory};
use clap::Args;

use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file; examples/train.toml documents every key. The options below count
    /// before it
    config: Option<PathBuf>,
    /// Text to train on, one paragraph a line, a blank line between documents; repeatable
    #[arg(long, value_name = "FILE")]
    text: Vec<PathBuf>,
    /// What to start from: `teacher`, `random` or a model folder
    #[arg(long)]
    start: Option<String>,
    /// Size of the SuperPLM to make of it, `L-dm-df-h-dq`: leading slices, layers chosen evenly
    #[arg(long, value_name = "ARCH")]
    size: Option<Architecture>,
    /// Train only this architecture of it
    #[arg(long)]
    arch: Option<Architecture>,
    /// Where to compute: `cpu`, or `cuda` if atb was built with `--features cuda`
    #[arg(long)]
    device: Option<TrainDevice>,
    /// Optimizer steps
    #[arg(long)]
    steps: Option<u64>,
    /// Stop at a checkpoint after this time (90m, 2h); the same command continues there
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time_budget: Option<Duration>,
    /// Folder of everything that the training makes; one that is there is continued
    #[arg(long, short)]
    out: Option<PathBuf>,
}

impl Arguments {
    fn config(&self) -> miette::Result<TrainConfig> {
        let mut config = match &self.config {
            Some(path) => TrainConfig::read(path)?,
            None => TrainConfig::default(),
        };
        if !self.text.is_empty() {
            config.text.clone_from(&self.text);
        }
        if let Some(steps) = self.steps {
            config.schedule.steps = steps;
            config.schedule.warmup_steps = config.schedule.warmup_steps.min(steps);
        }
        config.device = self.device.unwrap_or(config.device);
        config.start = self.start.clone().unwrap_or(config.start);
        config.output = self.out.clone().unwrap_or(config.output);
        config.size = self.size.clone().or(config.size);
        config.arch = self.arch.clone().or(config.arch);
        config.time_budget = self.time_budget.or(config.time_budget);
        Ok(config)
    }
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    keep_freed_memory();
    let outcome = train(&arguments.config()?, &mut Display::new())?;
    display::data(&summary(&outcome))?;
    Ok(())
}

fn summary(outcome: &Outcome) -> String {
    let stopped = match outcome.stopped {
        Stopped::Completed => "all are made",
        Stopped::TimeBudget => "the time is up; the same command continues",
        Stopped::Asked => "interrupted; the same command continues",
    };
    let folder = outcome.model.as_ref().unwrap_or(&outcome.checkpoint);
    let mut rows = vec![
        vec!["model".to_owned(), folder.display().to_string()],
        vec!["steps".to_owned(), format!("{} ({stopped})", outcome.steps)],
    ];
    for (arch, loss) in &outcome.validation {
        rows.push(vec![arch.id(), format!("held-out loss {loss:.4}")]);
    }
    display::table(&[], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_as_a_user_sees_it() {
        let outcome = Outcome {
            steps: 1200,
            stopped: Stopped::TimeBudget,
            checkpoint: "atb-train/checkpoints/step-00001200".into(),
            model: None,
            validation: vec![
                ("1-128-128-12-180".parse().expect("an architecture"), 3.25),
                ("6-256-736-12-252".parse().expect("an architecture"), 0.75),
            ],
        };
        insta::assert_snapshot!(summary(&outcome), @r"
        model             atb-train/checkpoints/step-00001200
        steps             1200 (the time is up; the same command continues)
        1-128-128-12-180  held-out loss 3.2500
        6-256-736-12-252  held-out loss 0.7500
        ");
    }
}
