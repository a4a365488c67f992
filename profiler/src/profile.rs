//! Measuring a plan into a file.

use std::path::Path;

use atb_measurements::{
    Header, MeasurementFile, MeasurementWriter, Protocol, Record, SCHEMA, Statistics,
};
use atb_targets::Target;

use crate::{Agent, Item, Plan, ProfileError};

/// Watches a profile go by.
pub trait Observer {
    /// The agent is ready; `done` of the plan's `total` measurements are already in the file.
    fn ready(&mut self, header: &Header, done: usize, total: usize);
    /// A measurement begins.
    fn begin(&mut self, item: &Item);
    /// A measurement is in the file.
    fn measured(&mut self, record: &Record, statistics: &Statistics);
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn ready(&mut self, _: &Header, _: usize, _: usize) {}
    fn begin(&mut self, _: &Item) {}
    fn measured(&mut self, _: &Record, _: &Statistics) {}
}

/// Measures what of `plan` the file at `path` lacks, appending each record as soon as it
/// is there, and returns the whole file. If nothing is missing no agent is started.
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
    if path.exists()
        && let Ok(file) = MeasurementFile::read(path)
        && file.torn.is_none()
        && file.header.target == target.name
        && file.header.protocol == *protocol
        && plan.remaining(&file.records).is_empty()
    {
        return Ok(file);
    }
    let mut agent = Agent::start(target, protocol)?;
    let header = Header {
        schema: SCHEMA,
        target: target.name.clone(),
        protocol: protocol.clone(),
        device: agent.device.clone(),
        agent: agent.agent.clone(),
    };
    let (mut writer, contents) = MeasurementWriter::open(path, &header)?;
    let remaining = plan.remaining(&contents.records);
    let total = plan.items().len();
    observer.ready(&header, total - remaining.len(), total);
    for item in &remaining {
        observer.begin(item);
        let record = agent.measure(item)?;
        // Checked before it is written: a file never holds a record that it cannot read.
        let statistics = Statistics::of(&record).map_err(|error| ProfileError::Refused {
            target: target.name.clone(),
            subject: item.subject.to_string(),
            message: error.to_string(),
        })?;
        writer.append(&record)?;
        observer.measured(&record, &statistics);
    }
    Ok(MeasurementFile::read(path)?)
}
