//! `atb bench`: time an exported model on a device.

use std::path::PathBuf;

use atb_measurements::ProtocolSettings;
use atb_pipeline::steps::{self, Comparison};
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
    /// Time it in another engine as well, side by side; may be given several times
    #[arg(long = "engine", value_name = "ENGINE", value_enum)]
    engines: Vec<Engine>,
    /// Shared library of ONNX Runtime on the device; on this machine there is one already
    #[arg(long, value_name = "PATH", requires = "engines")]
    ort_library: Option<String>,
    #[command(flatten)]
    workload: WorkloadArguments,
    /// File for the raw measurements; an existing one is resumed. Without it they are
    /// not kept
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Record that an app made of the same model, to put beside this measurement
    #[arg(long, value_name = "RECORD")]
    compare: Option<PathBuf>,
    /// Former name of `--baseline`
    #[arg(long = "against", hide = true, value_parser = renamed("--baseline"))]
    former_against: Option<String>,
}

/// What else to time the file in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// tract, without this project's operations
    Tract,
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
    let asked = |engine| arguments.engines.contains(&engine);
    let library = match asked(Engine::Ort) {
        true => Some(steps::onnx_runtime_for(&target, arguments.ort_library.as_deref())?),
        false => None,
    };
    let engines =
        steps::OtherEngines { plain_tract: asked(Engine::Tract), onnx_runtime: library.as_deref() };
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let file = arguments.out.clone().unwrap_or_else(|| scratch.path().join("bench.jsonl"));
    let timed = steps::bench(
        &target,
        &arguments.model,
        &arguments.baseline,
        engines,
        &protocol,
        &file,
        &mut Display::new(),
    )?;
    let mut text = table(&timed);
    if let Some(app) = &arguments.compare {
        let comparison = steps::compare_with_app(&arguments.model, &file, app)?;
        text.push_str("\n\n");
        text.push_str(&compared(&comparison));
    }
    display::data(&text)?;
    Ok(())
}

/// What there is to say of a number in an app.
fn compared(comparison: &Comparison) -> String {
    let Comparison { bench, app, agrees, ratio_agrees, differences } = comparison;
    let apart = 100.0 * (app.latency_ms / bench.latency_ms - 1.0);
    let verdict = match (agrees, ratio_agrees) {
        (true, _) => "they agree",
        (false, true) => {
            "they differ, the ratios to the reference model agree: the device ran at another speed"
        }
        (false, false) => "they do not agree",
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("in the app", format!("{:.3} ms ({apart:+.1} %)", app.latency_ms)),
        row("ratio", format!("{:.3} in the bench, {:.3} in the app", bench.ratio, app.ratio)),
        row("verdict", verdict.to_owned()),
    ];
    rows.extend(differences.iter().map(|difference| row("differs", difference.clone())));
    display::table(&[], rows)
}

fn table(timed: &steps::Timed) -> String {
    let known = |value: Option<f64>, decimals: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
    };
    let of_model = timed.model.latency_ms;
    let row = |runs: &steps::Runs| {
        let mut row = vec![
            runs.name.clone(),
            format!("{:.3}", runs.latency_ms),
            format!("{:.2}", runs.latency_ms / of_model),
        ];
        row.extend(runs.percentiles_ms.map(|ms| format!("{ms:.2}")));
        let memory = runs.memory_kib.map(|kib| kib as f64 / 1024.0);
        row.extend([known(runs.load_ms, 1), known(runs.first_ms, 2), known(memory, 1)]);
        row
    };
    let all = std::iter::once(&timed.model).chain(&timed.others).chain([&timed.baseline]);
    let header = ["", "ms", "ratio", "p50", "p90", "p99", "load", "first", "MiB"];
    let mut text = display::table(&header, all.map(row).collect());
    text.push('\n');
    let speedup =
        format!("speed-up: {:.2} times faster than {}", timed.speedup, timed.baseline.name);
    let flags = display::no_device(&timed.flags).map(|line| line.join(": "));
    for line in std::iter::once(speedup).chain(flags) {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_as_a_user_sees_it() {
        let runs = |name: &str, latency_ms: f64| steps::Runs {
            name: name.to_owned(),
            latency_ms,
            percentiles_ms: [latency_ms, latency_ms * 1.02, latency_ms * 1.3],
            load_ms: Some(31.26),
            first_ms: Some(latency_ms * 1.5),
            memory_kib: Some(48_200),
        };
        let timed = steps::Timed {
            ratio: 0.2,
            speedup: 14.2,
            model: runs("model", 8.0),
            others: vec![steps::Runs { memory_kib: None, ..runs("in ONNX Runtime", 10.0) }],
            baseline: runs("12-768-3072-12-768", 113.6),
            engine: "tract".to_owned(),
            flags: vec![atb_measurements::Flag::Emulated],
        };
        insta::assert_snapshot!(table(&timed));
    }
}
