//! Appending to a measurement file.

use std::path::Path;

use atb_files::{Appender, JsonLines, json_line};
use serde::Serialize;

use crate::file::{check_plan, other_context};
use crate::{AgentContext, Failure, FileError, Header, MeasurementFile, Record, Statistics};

/// The line as it stands in the file: a record and, for other readers, its statistics.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a Record,
    statistics: Option<Statistics>,
}

/// What a measurement file held when it was opened to append to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Its records.
    pub records: Vec<Record>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
}

/// Appends records to a measurement file, each one safe on disk before the next begins.
#[derive(Debug)]
pub struct MeasurementWriter {
    appender: Appender,
}

impl MeasurementWriter {
    /// Begins the file `path` with `header`, or opens an existing one to append to it: what
    /// is already in it is returned, and an incomplete last line is cut off.
    ///
    /// # Errors
    /// [`FileError`]; in particular [`FileError::OtherContext`] if the existing file was
    /// measured on another target, by another protocol or by another agent.
    pub fn open(path: &Path, header: &Header) -> Result<(Self, Contents), FileError> {
        let lines = JsonLines::read_or_empty(path)?;
        let contents = if lines.is_empty() {
            Contents::default()
        } else {
            let file = MeasurementFile::parse(&lines)?;
            check_plan(path, &file.header, &header.target, &header.protocol)?;
            check_agent(path, &file.header.agent, &header.agent)?;
            Contents { records: file.records, failures: file.failures }
        };
        Ok((Self { appender: lines.appender(header)? }, contents))
    }

    /// Appends one record and waits until it is on disk. A record that could not be
    /// written whole (a full disk, say) leaves the file as it was before.
    ///
    /// # Errors
    /// [`FileError::File`].
    pub fn append(&mut self, record: &Record) -> Result<(), FileError> {
        let statistics = Statistics::of(record).ok();
        Ok(self.appender.append(&Line { record, statistics })?)
    }

    /// Appends what could not be measured, as [`MeasurementWriter::append`] does a record.
    ///
    /// # Errors
    /// [`FileError::File`].
    pub fn append_failure(&mut self, failure: &Failure) -> Result<(), FileError> {
        Ok(self.appender.append(failure)?)
    }
}

/// The content of a measurement file, for who keeps it elsewhere than in a file.
///
/// # Errors
/// [`FileError::File`] if a value cannot be written as JSON.
pub fn file_text(header: &Header, records: &[Record]) -> Result<String, FileError> {
    let mut bytes = json_line(header).map_err(std::io::Error::from)?;
    for record in records {
        let statistics = Statistics::of(record).ok();
        bytes.extend(json_line(&Line { record, statistics }).map_err(std::io::Error::from)?);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn check_agent(path: &Path, there: &AgentContext, here: &AgentContext) -> Result<(), FileError> {
    // What changes the numbers; what is only told about the agent may differ.
    let text = |agent: &AgentContext| {
        let overrides: String =
            agent.overrides.iter().map(|(name, value)| format!(", {name}={value}")).collect();
        format!("{} with {} and {}{overrides}", agent.version, agent.runtime, agent.kernel)
    };
    match (text(there), text(here)) {
        (there, here) if there != here => other_context(path, "agent", &there, &here),
        _ => Ok(()),
    }
}
