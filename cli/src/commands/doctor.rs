//! `atb doctor`: whether a run on a device could be trusted, and what to do if not.

use atb_profiler::doctor::{Check, Outcome, examine, is_trustworthy};
use atb_targets::Target;
use clap::Args;
use miette::bail;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Device: a built-in name or a target file
    #[arg(long, default_value = "local")]
    target: String,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let target = Target::find(&arguments.target)?;
    let checks = examine(&target);
    display::data(&report(&checks))?;
    if is_trustworthy(&checks) {
        return Ok(());
    }
    let bad: Vec<&str> = checks
        .iter()
        .filter(|check| check.outcome == Outcome::Bad)
        .map(|check| check.name)
        .collect();
    bail!("a run on `{}` could not be trusted: {}", target.name, bad.join(", "))
}

/// One line a check, and a remedy under each that needs one.
fn report(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!("{:<8} {:<9} {}", check.name, check.outcome, check.finding));
        if let Some(remedy) = &check.remedy {
            lines.push(format!("{:18} hint: {remedy}", ""));
        }
    }
    lines.join("\n")
}
