//! Measuring a plan into a file.

use std::path::{Path, PathBuf};
use std::thread;

use atb_files::Lock;
use atb_measurements::{
    Failure, FileError, Header, MeasurementFile, MeasurementWriter, Protocol, Record, SCHEMA,
    Statistics,
};
use atb_targets::Target;

use crate::agent::Agent;
use crate::error::ProfileError;
use crate::link::Link;
use crate::observer::Observer;
use crate::plan::{Item, Plan};

/// How often the agent may end while it measures one item before the item is given up.
const MAX_AGENT_EXITS: usize = 2;

/// Measures what of `plan` the file at `path` lacks, appending each record as soon as it
/// is there, and returns the whole file. If nothing is missing no agent is started, nor if the
/// file cannot be continued or another process is writing to it.
///
/// After an agent has ended or a connection has broken, a new agent is started, a few times;
/// what was being measured is measured again. A model that ends the agent twice is recorded as failed,
/// and the rest goes on.
///
/// # Errors
/// [`ProfileError`]; what was measured before it is in the file.
pub fn profile(
    target: &Target,
    protocol: &Protocol,
    plan: &Plan,
    path: &Path,
    observer: &mut dyn Observer,
) -> Result<MeasurementFile, ProfileError> {
    profile_over(&Link::to(target), protocol, plan, path, observer)
}

/// As [`profile`], over any link.
///
/// # Errors
/// As [`profile`].
pub fn profile_over(
    link: &Link<'_>,
    protocol: &Protocol,
    plan: &Plan,
    path: &Path,
    observer: &mut dyn Observer,
) -> Result<MeasurementFile, ProfileError> {
    let there = MeasurementFile::read_to_continue(path, &link.target, protocol)?;
    if let Some(file) = there
        && file.torn.is_none()
        && remaining(plan, &file.records, &file.failures).is_empty()
    {
        Lock::remove_leftover(path);
        return Ok(file);
    }
    // Two that measure on one device also slow each other down.
    let _lock = Lock::of_file(path).map_err(FileError::from)?;
    let mut agent = link.start(protocol)?;
    let header = Header {
        schema: SCHEMA,
        target: link.target.clone(),
        protocol: protocol.clone(),
        device: agent.device.clone(),
        agent: agent.agent.clone(),
    };
    let (mut writer, mut contents) = MeasurementWriter::open(path, &header)?;
    let items = remaining(plan, &contents.records, &contents.failures);
    let total = plan.items().len();
    observer.ready(&header, total - items.len(), total);
    for item in &items {
        if let Some(failure) = contents.failures.iter().find(|f| f.subject == item.subject) {
            observer.gave_up(failure);
            continue;
        }
        observer.begin(item);
        match measured(&mut agent, item, link, protocol, observer)? {
            Ok(record) => {
                // Checked before it is written: a file never holds a record that it cannot
                // read.
                let statistics =
                    Statistics::of(&record).map_err(|error| ProfileError::Refused {
                        target: link.target.clone(),
                        subject: item.subject.to_string(),
                        message: error.to_string(),
                        help: None,
                    })?;
                writer.append(&record)?;
                observer.measured(&record, &statistics);
            }
            Err(failure) => {
                writer.append_failure(&failure)?;
                observer.gave_up(&failure);
                contents.failures.push(failure);
            }
        }
    }
    Ok(MeasurementFile::read(path)?)
}

/// What of the plan is neither measured nor known to fail.
#[must_use]
pub fn remaining(plan: &Plan, records: &[Record], failures: &[Failure]) -> Vec<Item> {
    let mut items = plan.remaining(records);
    items.retain(|item| !failures.iter().any(|failure| failure.subject == item.subject));
    items
}

/// Measures one item, on a new agent if this one ends.
fn measured(
    agent: &mut Agent,
    item: &Item,
    link: &Link<'_>,
    protocol: &Protocol,
    observer: &mut dyn Observer,
) -> Result<Result<Record, Failure>, ProfileError> {
    let mut exits = 0;
    loop {
        let error = match agent.measure(item) {
            Ok(record) => return Ok(Ok(record)),
            Err(error @ ProfileError::AgentEnded { .. }) => error,
            Err(error) => return Err(error),
        };
        exits += 1;
        observer.lost(&error);
        let cause = match &error {
            ProfileError::AgentEnded { cause, .. } => cause.clone(),
            error => error.to_string(),
        };
        *agent = link.start_again(protocol, error, observer)?;
        if exits == MAX_AGENT_EXITS {
            let times = format!("the agent ended each of {MAX_AGENT_EXITS} times");
            return Ok(Err(Failure {
                subject: item.subject.clone(),
                role: item.role,
                failure: format!("{times}, the last time with {cause}"),
            }));
        }
    }
}

/// One device's part of a profile.
#[derive(Clone, Debug)]
pub struct Job {
    /// The device.
    pub target: Target,
    /// How to measure.
    pub protocol: Protocol,
    /// What to measure.
    pub plan: Plan,
    /// Its measurement file.
    pub path: PathBuf,
}

/// Profiles several devices at the same time, each by a thread and into a file of its own.
/// The results come in the jobs' order; one device's failure does not end the others.
pub fn profile_all<O: Observer + Send>(
    jobs: &[Job],
    observers: &mut [O],
) -> Vec<Result<MeasurementFile, ProfileError>> {
    thread::scope(|scope| {
        let running: Vec<_> = jobs
            .iter()
            .zip(observers)
            .map(|(job, observer)| {
                scope.spawn(|| profile(&job.target, &job.protocol, &job.plan, &job.path, observer))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}
