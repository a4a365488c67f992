//! Timing an exported model on its device.

use std::path::Path;

use atb_export::Bundle;
use atb_measurements::{Protocol, Record, Role, Subject, median};
use atb_profiler::{Item, Plan, profile};
use atb_space::{Architecture, Workload};
use atb_targets::Target;

use super::profile::Progress;
use crate::{PipelineError, Reporter};

/// A model file timed beside a baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// The model's latency over the reference model's.
    pub ratio: f64,
    /// The model's latency in milliseconds, on this file's own scale.
    pub latency_ms: f64,
    /// The baseline's latency in milliseconds, on this file's own scale.
    pub baseline_ms: f64,
    /// Times that the model is faster than the baseline.
    pub speedup: f64,
}

/// How often a model file and the baseline are measured in turns.
const TURNS: usize = 3;

/// Times the ONNX file `model` on `target`, in turns with `baseline`, into `file`. The
/// workload of `protocol` must be the file's.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn bench(
    target: &Target,
    model: &Path,
    baseline: &Architecture,
    protocol: &Protocol,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Timed, PipelineError> {
    // The agent may run in another folder.
    let path = model.canonicalize().map_err(PipelineError::io(model))?;
    let model = Item { subject: Subject::Model(path.display().to_string()), role: Role::Check };
    let baseline = Item { subject: Subject::Architecture(baseline.clone()), role: Role::Baseline };
    let turns = (0..TURNS).flat_map(|_| [model.clone(), baseline.clone()]).collect();
    let measured = profile(target, protocol, &Plan::of(turns), file, &mut Progress(reporter))?;
    reporter.end();
    let ratio = |item: &Item| -> Result<f64, PipelineError> {
        let mut ratios = Vec::new();
        let of_item = |record: &&Record| record.subject == item.subject && record.role == item.role;
        for record in measured.records.iter().filter(of_item) {
            ratios.push(measured.statistics(record)?.ratio);
        }
        Ok(median(&ratios).unwrap_or(f64::NAN))
    };
    let (model, baseline) = (ratio(&model)?, ratio(&baseline)?);
    let reference_ms = measured.reference_ms()?;
    Ok(Timed {
        ratio: model,
        latency_ms: model * reference_ms,
        baseline_ms: baseline * reference_ms,
        speedup: baseline / model,
    })
}

/// The shape of input that the bundle at `folder` takes, if it is a bundle.
#[must_use]
pub fn bundle_workload(folder: &Path) -> Option<Workload> {
    Bundle::open(folder).ok().map(|bundle| bundle.report().workload)
}
