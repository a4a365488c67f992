//! Timing an exported model on its device.

use std::path::Path;

use atb_export::Bundle;
use atb_measurements::{Flag, MeasurementFile, Protocol, Record, Role, Subject, median};
use atb_profiler::{Item, Link, Plan, ProfileError, profile_over};
use atb_space::{Architecture, Workload};
use atb_targets::Target;

use super::profile::Progress;
use crate::{PipelineError, Reporter};

/// A model file timed beside a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// The model's latency over the reference model's.
    pub ratio: f64,
    /// The model's latency in milliseconds, on this file's own scale.
    pub latency_ms: f64,
    /// The baseline's latency in milliseconds, on this file's own scale.
    pub baseline_ms: f64,
    /// Times that the model is faster than the baseline.
    pub speedup: f64,
    /// The model's latency in ONNX Runtime in milliseconds, on the same scale, where that
    /// was asked for.
    pub onnx_runtime_ms: Option<f64>,
    /// What ran the model: the engine, or what stood in for it or for its processor.
    pub engine: String,
    /// What a reader must know of the device.
    pub flags: Vec<Flag>,
}

/// How often a model file and the baseline are measured, alternately.
const TURNS: usize = 3;

/// Times the ONNX file `model` on `target`, alternating with `baseline` and, where its library
/// on the device is given, with the same file in ONNX Runtime, into `file`. The workload of
/// `protocol` must be the file's.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn bench(
    target: &Target,
    model: &Path,
    baseline: &Architecture,
    onnx_runtime: Option<&str>,
    protocol: &Protocol,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Timed, PipelineError> {
    // The agent may run in another folder.
    let path = fs_err::canonicalize(model)?;
    let digest = atb_files::digest_of_file(&path)?;
    // A file that cannot be continued is told before the device is asked for anything.
    MeasurementFile::read_to_continue(file, &target.name, protocol)?;
    let name = format!("bench-{}.onnx", &digest[..12]);
    let device = target.open().map_err(ProfileError::from)?;
    let path = device.push(&path, &name).map_err(ProfileError::from)?;
    let item = |subject, role| Item { subject, role };
    let model = item(Subject::Model(path.clone()), Role::Check);
    let other_engine = onnx_runtime.map(|_| item(Subject::OnnxRuntime(path), Role::Check));
    let baseline = item(Subject::architecture(baseline.clone()), Role::Baseline);
    let turn = [Some(&model), other_engine.as_ref(), Some(&baseline)];
    let turns = (0..TURNS).flat_map(|_| turn.into_iter().flatten().cloned()).collect();
    let link = Link { onnx_runtime: onnx_runtime.map(str::to_owned), ..Link::to(target) };
    let measured = profile_over(&link, protocol, &Plan::of(turns), file, &mut Progress(reporter));
    // Whether it was measured or not, the device keeps nothing of it.
    let removed = device.remove(&name);
    let measured = measured?;
    removed.map_err(ProfileError::from)?;
    reporter.end();
    let ratio = |item: &Item| -> Result<f64, PipelineError> {
        let mut ratios = Vec::new();
        let of_item = |record: &&Record| record.subject == item.subject && record.role == item.role;
        for record in measured.records.iter().filter(of_item) {
            ratios.push(measured.statistics(record)?.ratio);
        }
        let usable = |ratio: &f64| ratio.is_finite() && *ratio > 0.0;
        median(&ratios).filter(usable).ok_or_else(|| PipelineError::NoFigure {
            figure: format!("latency of {}", item.subject),
            reason: match ratios.len() {
                0 => "none of its measurements came to an end".to_owned(),
                count => format!("its {count} measurements are not positive numbers"),
            },
        })
    };
    let (model, baseline) = (ratio(&model)?, ratio(&baseline)?);
    let reference_ms = measured.reference_ms()?;
    let other_engine = other_engine.as_ref().map(ratio).transpose()?;
    let flags = measured.header.device.flags();
    let runtime = measured.header.agent.runtime;
    let engine = match flags.contains(&Flag::Emulated) {
        true => format!("{runtime}, emulated"),
        false => runtime,
    };
    Ok(Timed {
        ratio: model,
        latency_ms: model * reference_ms,
        baseline_ms: baseline * reference_ms,
        speedup: baseline / model,
        onnx_runtime_ms: other_engine.map(|ratio| ratio * reference_ms),
        engine,
        flags,
    })
}

/// The library of ONNX Runtime to time files with on `target`: the given one, a path on the
/// device, or on this machine the one that comes with the tests' and parity checks' files.
///
/// # Errors
/// [`PipelineError`] if there is none, or no device that could run it.
pub fn onnx_runtime_for(target: &Target, given: Option<&str>) -> Result<String, PipelineError> {
    match given {
        _ if !target.transport.has_engine() => Err(PipelineError::Setting {
            key: "the engine",
            value: format!("ONNX Runtime on `{}`", target.name),
            expected: "none on a simulated device, which has only a cost model",
            hint: Some("compare engines on a device"),
        }),
        Some(library) => Ok(library.to_owned()),
        None if target.transport.is_this_machine() => {
            Ok(atb_fetch::onnx_runtime()?.display().to_string())
        }
        None => Err(PipelineError::Setting {
            key: "--ort-library",
            value: "absent".to_owned(),
            expected: "the path of ONNX Runtime's shared library on the device",
            hint: None,
        }),
    }
}

/// The shape of input that the bundle at `folder` takes, if it is a bundle.
#[must_use]
pub fn bundle_workload(folder: &Path) -> Option<Workload> {
    Bundle::open(folder).ok().map(|bundle| bundle.report().workload)
}
