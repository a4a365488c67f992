//! `atb bench`: time an exported model on a device.

use std::path::PathBuf;

use atb_measurements::ProtocolSettings;
use atb_pipeline::steps;
use atb_settings::Checked;
use atb_space::Architecture;
use atb_targets::Target;
use clap::{Args, ValueEnum};
use miette::IntoDiagnostic;

use super::{WorkloadArguments, renamed};
use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// ONNX file, as `atb export` writes it
    model: PathBuf,
    /// Device: a built-in name or a target file
    #[arg(long, default_value = "local")]
    target: String,
    /// Architecture to time alternately with it
    #[arg(long, value_name = "ARCH", default_value_t = Architecture::bert_base())]
    baseline: Architecture,
    /// Time it in ONNX Runtime as well, side by side
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Shared library of ONNX Runtime on the device; on this machine there is one already
    #[arg(long, value_name = "PATH", requires = "engine")]
    ort_library: Option<String>,
    #[command(flatten)]
    workload: WorkloadArguments,
    /// File for the raw measurements; an existing one is resumed. Without it they are
    /// not kept
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Former name of `--baseline`
    #[arg(long = "against", hide = true, value_parser = renamed("--baseline"))]
    former_against: Option<String>,
}

/// What else to time the file in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    /// ONNX Runtime
    Ort,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let target = Target::find(&arguments.target)?;
    // The shape stands in the bundle's report; for a lone file the arguments give it.
    let folder = arguments.model.parent().unwrap_or(&arguments.model);
    let workload = match steps::bundle_workload(folder) {
        Some(workload) => workload,
        None => arguments.workload.read()?,
    };
    let settings = ProtocolSettings { workload, ..ProtocolSettings::default() };
    settings.checked()?;
    let protocol = settings.on(target.threads, &target.cores);
    let library = match arguments.engine {
        Some(Engine::Ort) => {
            Some(steps::onnx_runtime_for(&target, arguments.ort_library.as_deref())?)
        }
        None => None,
    };
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let file = arguments.out.clone().unwrap_or_else(|| scratch.path().join("bench.jsonl"));
    let timed = steps::bench(
        &target,
        &arguments.model,
        &arguments.baseline,
        library.as_deref(),
        &protocol,
        &file,
        &mut Display::new(),
    )?;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("model", format!("{:.3} ms", timed.latency_ms)),
        row(&arguments.baseline.id(), format!("{:.3} ms", timed.baseline_ms)),
        row("speed-up", format!("{:.2}", timed.speedup)),
    ];
    if let Some(ms) = timed.onnx_runtime_ms {
        let ratio = ms / timed.latency_ms;
        rows.insert(1, row("in ONNX Runtime", format!("{ms:.3} ms ({ratio:.2} of tract's)")));
    }
    rows.extend(display::no_device(&timed.flags));
    display::data(&display::table(&[], rows))?;
    Ok(())
}
