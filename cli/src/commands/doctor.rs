//! `atb doctor`: whether a run on a device could be trusted, and what to do if not.

use atb_profiler::doctor::{Check, Outcome, examine, examine_host, is_trustworthy};
use atb_targets::Target;
use clap::Args;
use miette::bail;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Device: a built-in name or a target file. Without it, this computer: as a device, and what
    /// it has to reach others and to build for them
    #[arg(long)]
    target: Option<String>,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let target = Target::find(arguments.target.as_deref().unwrap_or("local"))?;
    let mut checks = examine(&target);
    if arguments.target.is_none() {
        checks.extend(examine_host());
    }
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
