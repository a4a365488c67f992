//! The winner's latency by length of text.

use std::path::{Path, PathBuf};

use atb_measurements::{FileError, MeasurementFile, Protocol, Role, Subject};
use atb_profiler::{Item, Plan, profile};
use atb_space::{Architecture, Workload};
use atb_targets::Target;

use super::profile::Progress;
use crate::{PipelineError, Reporter};

/// A model at one length of text.
#[derive(Clone, Debug, PartialEq)]
pub struct AtLength {
    /// Tokens.
    pub tokens: usize,
    /// Its latency in milliseconds: its ratio to the reference model at that length, times that
    /// model's latency.
    pub latency_ms: f64,
    /// Each run by the wall clock, in milliseconds.
    pub samples_ms: Vec<f64>,
}

/// The lengths that are shorter than the whole input, each once, in their order.
pub(crate) fn shorter(lengths: &[usize], protocol: &Protocol) -> Vec<usize> {
    let mut lengths: Vec<usize> =
        lengths.iter().copied().filter(|length| *length < protocol.workload.sequence).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// The measurement file of one length in the folder of all.
pub(crate) fn file_of(folder: &Path, tokens: usize) -> PathBuf {
    folder.join(format!("{tokens}.jsonl"))
}

/// Measures `arch` on `target` at each of `lengths` that is shorter than the input of `protocol`,
/// into a file each in `folder`; a length has a reference model and a protocol of its own.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the files.
pub fn measure_lengths(
    target: &Target,
    arch: &Architecture,
    lengths: &[usize],
    protocol: &Protocol,
    folder: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Vec<AtLength>, PipelineError> {
    fs_err::create_dir_all(folder)?;
    for tokens in shorter(lengths, protocol) {
        let workload = Workload { sequence: tokens, ..protocol.workload };
        let protocol = Protocol { workload, ..protocol.clone() };
        let plan = Plan::of(vec![Item {
            subject: Subject::architecture(arch.clone()),
            role: Role::Check,
        }]);
        profile(target, &protocol, &plan, &file_of(folder, tokens), &mut Progress(reporter))?;
        reporter.end();
    }
    Ok(at_lengths(arch, folder)?)
}

/// What the files in `folder`, which may be absent, have of `arch`, the shortest first.
///
/// # Errors
/// [`FileError`] if a file cannot be read.
pub fn at_lengths(arch: &Architecture, folder: &Path) -> Result<Vec<AtLength>, FileError> {
    let mut all = Vec::new();
    if !folder.is_dir() {
        return Ok(all);
    }
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let file = MeasurementFile::read(&path)?;
        let Some(record) = file.records.iter().find(|record| record.arch() == Some(arch)) else {
            continue;
        };
        all.push(AtLength {
            tokens: file.header.protocol.workload.sequence,
            latency_ms: file.statistics(record)?.ratio * file.reference_ms()?,
            samples_ms: record.samples_us.iter().map(|us| us / 1e3).collect(),
        });
    }
    all.sort_by_key(|it| it.tokens);
    Ok(all)
}
