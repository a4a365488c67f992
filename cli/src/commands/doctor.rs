//! `atb doctor`: whether a run on a device could be trusted, and what to do if not.

use atb_profiler::doctor::{Check, Outcome, examine, examine_host, is_trustworthy};
use atb_targets::Target;
use clap::Args;
use miette::bail;
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Device: a built-in name or a target file. Without it, this computer: as a device, and what
    /// it has to reach others and to build for them
    #[arg(long)]
    target: Option<String>,
    #[command(flatten)]
    output: OutputArguments,
}

/// What the doctor found, as `atb doctor --format json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Examination {
    /// Version of the schema: 1.
    schema: u32,
    /// The device.
    target: String,
    /// Whether a run on it could be trusted.
    trustworthy: bool,
    /// What was looked at.
    checks: Vec<Examined>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
struct Examined {
    /// What it was.
    name: String,
    /// How it came out: `ok`, `unknown`, `doubtful` or `bad`.
    outcome: String,
    /// What was found.
    finding: String,
    /// What to do about it; null where it came out well.
    remedy: Option<String>,
}

impl Examined {
    fn of(check: &Check) -> Self {
        Self {
            name: check.name.to_owned(),
            outcome: check.outcome.to_string(),
            finding: check.finding.clone(),
            remedy: check.remedy.clone(),
        }
    }
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let target = Target::find(arguments.target.as_deref().unwrap_or("local"))?;
    let mut checks = examine(&target);
    if arguments.target.is_none() {
        checks.extend(examine_host());
    }
    let trustworthy = is_trustworthy(&checks);
    arguments.output.print(&Examination {
        schema: 1,
        target: target.name.clone(),
        trustworthy,
        checks: checks.iter().map(Examined::of).collect(),
    })?;
    if trustworthy {
        return Ok(());
    }
    let bad: Vec<&str> = checks
        .iter()
        .filter(|check| check.outcome == Outcome::Bad)
        .map(|check| check.name)
        .collect();
    bail!("a run on `{}` could not be trusted: {}", target.name, bad.join(", "))
}

impl Document for Examination {
    /// One line a check, and a remedy under each that needs one.
    fn parts(&self) -> Vec<Part> {
        let mut lines = Vec::new();
        for check in &self.checks {
            lines.push(format!("{:<8} {:<9} {}", check.name, check.outcome, check.finding));
            if let Some(remedy) = &check.remedy {
                lines.push(format!("{:18} hint: {remedy}", ""));
            }
        }
        vec![Part::Text(lines)]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.checks)
    }
}
