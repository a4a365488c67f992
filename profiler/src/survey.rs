//! Which devices can be reached now, and what they say of themselves.

use std::thread;

use atb_measurements::{AgentContext, DeviceContext};
use atb_targets::{Target, TargetError, Transport, adb_devices};

use crate::{Agent, ProfileError};

/// A device as its agent found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The device.
    pub device: DeviceContext,
    /// The agent.
    pub agent: AgentContext,
}

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
    for name in Target::built_in_names() {
        let target = Target::find(name)?;
        if !matches!(target.transport, Transport::Ssh(_) | Transport::Adb(_)) {
            targets.push(target);
        }
    }
    // Without adb there is no phone to be found.
    for phone in adb_devices(None).unwrap_or_default() {
        targets.push(Target::find(&format!("android-phone@{}", phone.serial))?);
    }
    targets.extend(Target::of_user()?);
    Ok(targets)
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
