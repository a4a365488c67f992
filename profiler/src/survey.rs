//! Which devices can be reached now, and what they say of themselves.

use std::collections::BTreeSet;
use std::thread;

use atb_targets::{Discovery, Target, TargetError};

use crate::agent::{Agent, Inspection};
use crate::error::ProfileError;

/// One device that was looked for.
#[derive(Debug)]
pub struct Surveyed {
    /// How to name it on the command line.
    pub target: Target,
    /// What it says, or why it says nothing.
    pub result: Result<Inspection, ProfileError>,
}

/// What there is to reach without being told an address: this machine, emulated and simulated
/// ones, the phones that adb knows, and the user's own target files.
///
/// # Errors
/// [`TargetError`] if a file of the user's is no target.
pub fn known_targets() -> Result<Vec<Target>, TargetError> {
    let mut targets = Vec::new();
    // Of several built-in targets with one transport the first stands for what it finds.
    let mut found = BTreeSet::new();
    for name in Target::built_in_names() {
        let target = Target::find(name)?;
        match target.transport.discover() {
            Discovery::Itself => targets.push(target),
            Discovery::At(addresses) => {
                for address in addresses {
                    // An address comes from a device; one that no target can have is left out.
                    if found.insert((target.transport.kind(), address.clone()))
                        && let Ok(target) = Target::find(&format!("{name}@{address}"))
                    {
                        targets.push(target);
                    }
                }
            }
            Discovery::ByAddress => {}
        }
    }
    targets.sort_by_key(|target| !target.transport.is_this_machine());
    targets.extend(Target::of_user()?);
    Ok(targets)
}

/// The built-in targets that are asked for by an address.
///
/// # Errors
/// [`TargetError`] if one of them is no target.
pub fn by_address() -> Result<Vec<Target>, TargetError> {
    let targets: Vec<Target> =
        Target::built_in_names().map(Target::find).collect::<Result<_, _>>()?;
    Ok(targets
        .into_iter()
        .filter(|target| target.transport.discover() == Discovery::ByAddress)
        .collect())
}

/// Asks all `targets` at once what they are; the agent is pushed where it is lacking.
#[must_use]
pub fn survey(targets: Vec<Target>) -> Vec<Surveyed> {
    let asked: Vec<_> = targets
        .into_iter()
        .map(|target| {
            thread::spawn(move || {
                let result = Agent::inspect(&target);
                Surveyed { target, result }
            })
        })
        .collect();
    asked
        .into_iter()
        .filter_map(|thread| match thread.join() {
            Ok(surveyed) => Some(surveyed),
            Err(panic) => std::panic::resume_unwind(panic),
        })
        .collect()
}
