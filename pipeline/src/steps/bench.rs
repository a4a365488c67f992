//! Timing an exported model on its device.

use std::path::{Path, PathBuf};

use atb_export::Bundle;
use atb_measurements::{Flag, MeasurementFile, Protocol, Record, Role, Subject, Summary, median};
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
    /// Times that the model is faster than the baseline.
    pub speedup: f64,
    /// The model in the session.
    pub model: Runs,
    /// The same file in the other engines that were asked for.
    pub others: Vec<Runs>,
    /// The baseline.
    pub baseline: Runs,
    /// What ran the model: the engine, or what stood in for it or for its processor.
    pub engine: String,
    /// What a reader must know of the device.
    pub flags: Vec<Flag>,
}

/// What the runs of one model showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    /// What ran.
    pub name: String,
    /// Latency in milliseconds, on this file's own scale: paired ratio times the reference
    /// model's latency.
    pub latency_ms: f64,
    /// The 50th, 90th and 99th percentile of its runs by the wall clock, in milliseconds.
    pub percentiles_ms: [f64; 3],
    /// Time to load it, in milliseconds, if it was noted.
    pub load_ms: Option<f64>,
    /// Its first run after it was loaded, in milliseconds, if it was noted.
    pub first_ms: Option<f64>,
    /// Memory that it took at its peak, in KiB, if known.
    pub memory_kib: Option<u64>,
}

impl Runs {
    /// What `records` of one model showed.
    fn of(
        name: String,
        records: &[&Record],
        ratio: f64,
        reference_ms: f64,
    ) -> Result<Self, PipelineError> {
        let Some(summary) = Summary::of(records) else {
            let reason = "it has no samples".to_owned();
            return Err(PipelineError::NoFigure { figure: format!("latency of {name}"), reason });
        };
        let Summary { percentiles_ms, load_ms, first_ms, memory_kib } = summary;
        let latency_ms = ratio * reference_ms;
        Ok(Self { name, latency_ms, percentiles_ms, load_ms, first_ms, memory_kib })
    }
}

/// Engines that a file is timed in beside the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherEngines<'a> {
    /// tract without operations of ours.
    pub plain_tract: bool,
    /// ONNX Runtime, by the path of its library on the device.
    pub onnx_runtime: Option<&'a str>,
}

/// How often a model file and the baseline are measured, alternately.
pub(crate) const TURNS: usize = 3;

/// Times the ONNX file `model` on `target`, alternating with `baseline` and with the same file in
/// the other engines that are asked for, into `file`. The workload of `protocol` must be the
/// file's.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn bench(
    target: &Target,
    model: &Path,
    baseline: &Architecture,
    engines: OtherEngines<'_>,
    protocol: &Protocol,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Timed, PipelineError> {
    if engines.plain_tract && !target.transport.has_engine() {
        return Err(no_engine(target, "tract"));
    }
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
    let plain_tract =
        engines.plain_tract.then(|| item(Subject::PlainTract(path.clone()), Role::Check));
    let onnx_runtime = engines.onnx_runtime.map(|_| item(Subject::OnnxRuntime(path), Role::Check));
    let baseline = item(Subject::architecture(baseline.clone()), Role::Baseline);
    let turn = [Some(&model), plain_tract.as_ref(), onnx_runtime.as_ref(), Some(&baseline)];
    let turns = (0..TURNS).flat_map(|_| turn.into_iter().flatten().cloned()).collect();
    let link = Link { onnx_runtime: engines.onnx_runtime.map(str::to_owned), ..Link::to(target) };
    let measured = profile_over(&link, protocol, &Plan::of(turns), file, &mut Progress(reporter));
    // Whether it was measured or not, the device keeps nothing of it.
    let removed = device.remove(&name);
    let measured = measured?;
    removed.map_err(ProfileError::from)?;
    reporter.end();
    let reference_ms = measured.reference_ms()?;
    let runs = |item: &Item, name: String| runs_of(&measured, item, name, reference_ms);
    let (ratio, of_model) = runs(&model, "model".to_owned())?;
    let (of_baseline, baseline) = runs(&baseline, baseline.subject.to_string())?;
    let mut others = Vec::new();
    for (item, name) in [(plain_tract, "in plain tract"), (onnx_runtime, "in ONNX Runtime")] {
        if let Some(item) = item {
            others.push(runs(&item, name.to_owned())?.1);
        }
    }
    let flags = measured.header.device.flags();
    let runtime = measured.header.agent.runtime;
    let engine = match flags.contains(&Flag::Emulated) {
        true => format!("{runtime}, emulated"),
        false => runtime,
    };
    let speedup = of_baseline / ratio;
    Ok(Timed { ratio, speedup, model: of_model, others, baseline, engine, flags })
}

/// The ratio to the reference model and the runs that the records of `item` show.
fn runs_of(
    measured: &MeasurementFile,
    item: &Item,
    name: String,
    reference_ms: f64,
) -> Result<(f64, Runs), PipelineError> {
    let of_item = |record: &&Record| record.subject == item.subject && record.role == item.role;
    let records: Vec<&Record> = measured.records.iter().filter(of_item).collect();
    let mut ratios = Vec::new();
    for record in &records {
        ratios.push(measured.statistics(record)?.ratio);
    }
    let usable = |ratio: &f64| ratio.is_finite() && *ratio > 0.0;
    let no_figure = || PipelineError::NoFigure {
        figure: format!("latency of {}", item.subject),
        reason: match ratios.len() {
            0 => "none of its measurements came to an end".to_owned(),
            count => format!("its {count} measurements are not positive numbers"),
        },
    };
    let ratio = median(&ratios).filter(usable).ok_or_else(no_figure)?;
    Ok((ratio, Runs::of(name, &records, ratio, reference_ms)?))
}

/// Times named ONNX files on `target`, alternately, into `file`. The workload of `protocol` must
/// be the files'.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub(super) fn time_files(
    target: &Target,
    files: &[(String, PathBuf)],
    protocol: &Protocol,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<(Vec<Runs>, Vec<Flag>), PipelineError> {
    MeasurementFile::read_to_continue(file, &target.name, protocol)?;
    let device = target.open().map_err(ProfileError::from)?;
    let mut pushed = Vec::new();
    let mut timed = || -> Result<(Vec<Item>, MeasurementFile), PipelineError> {
        let mut items = Vec::new();
        for (_, path) in files {
            let path = fs_err::canonicalize(path)?;
            let name = format!("bench-{}.onnx", &atb_files::digest_of_file(&path)?[..12]);
            pushed.push(name.clone());
            let path = device.push(&path, &name).map_err(ProfileError::from)?;
            items.push(Item { subject: Subject::Model(path), role: Role::Check });
        }
        let turns = (0..TURNS).flat_map(|_| items.iter().cloned()).collect();
        let plan = Plan::of(turns);
        let link = Link::to(target);
        let measured = profile_over(&link, protocol, &plan, file, &mut Progress(reporter))?;
        Ok((items, measured))
    };
    let timed = timed();
    // Whether they were measured or not, the device keeps nothing of them.
    let removed: Result<(), _> = pushed.iter().try_for_each(|name| device.remove(name));
    let (items, measured) = timed?;
    removed.map_err(ProfileError::from)?;
    reporter.end();
    let reference_ms = measured.reference_ms()?;
    let runs = files.iter().zip(&items).map(|((name, _), item)| {
        runs_of(&measured, item, name.clone(), reference_ms).map(|(_, runs)| runs)
    });
    Ok((runs.collect::<Result<_, _>>()?, measured.header.device.flags()))
}

fn no_engine(target: &Target, engine: &str) -> PipelineError {
    PipelineError::Setting {
        key: "the engine",
        value: format!("{engine} on `{}`", target.name),
        expected: "none on a simulated device, which has only a cost model",
        hint: Some("compare engines on a device"),
    }
}

/// The library of ONNX Runtime to time files with on `target`: the given one, a path on the
/// device, or on this machine the one that comes with the tests' and parity checks' files.
///
/// # Errors
/// [`PipelineError`] if there is none, or no device that could run it.
pub fn onnx_runtime_for(target: &Target, given: Option<&str>) -> Result<String, PipelineError> {
    match given {
        _ if !target.transport.has_engine() => Err(no_engine(target, "ONNX Runtime")),
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
