//! `atb bench`: time an exported model on a device.

use std::path::PathBuf;

use atb_measurements::ProtocolSettings;
use atb_pipeline::steps::{self, Comparison};
use atb_settings::Checked;
use atb_space::Architecture;
use atb_targets::Target;
use clap::{Args, ValueEnum};
use miette::IntoDiagnostic;
use schemars::JsonSchema;
use serde::Serialize;

use super::{WorkloadArguments, renamed};
use crate::display::{Display, Remark};
use crate::output::{Document, Lines, OutputArguments, Part};

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
    #[command(flatten)]
    output: OutputArguments,
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
    let app = match &arguments.compare {
        Some(app) => Some(steps::compare_with_app(&arguments.model, &file, app)?),
        None => None,
    };
    arguments.output.print(&Benched::of(&target.name, &timed, app.as_ref()))
}

/// Timed models, as `atb bench --format json` prints them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Benched {
    /// Version of the schema: 1.
    schema: u32,
    /// The device.
    target: String,
    /// What ran the model: the engine, or what stood in for it.
    engine: String,
    /// Times that the model is faster than the baseline.
    speedup: f64,
    /// The model, the same file in other engines, and the baseline.
    models: Vec<Model>,
    /// Why the numbers say nothing about a device; empty if they do.
    remarks: Vec<Remark>,
    /// The same model as an app measured it; null without a record of one.
    app: Option<App>,
}

/// What the runs of one model showed.
#[derive(Debug, Serialize, JsonSchema)]
struct Model {
    /// `model`, the engine that the file ran in beside it, or the baseline's architecture.
    name: String,
    /// Latency over the model's.
    ratio: f64,
    #[serde(flatten)]
    runs: RunsOf,
}

/// What the runs of a model showed. What was not noted is null.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunsOf {
    /// Latency: paired ratio times the reference model's latency.
    pub(super) latency_ms: f64,
    /// Half of the runs were faster, by the wall clock.
    pub(super) p50_ms: f64,
    /// 90 % of the runs were faster.
    pub(super) p90_ms: f64,
    /// 99 % of the runs were faster.
    pub(super) p99_ms: f64,
    /// Time to load it.
    pub(super) load_ms: Option<f64>,
    /// Its first run after that.
    pub(super) first_ms: Option<f64>,
    /// Memory that it took at its peak, in KiB.
    pub(super) memory_kib: Option<u64>,
}

impl RunsOf {
    pub(super) fn of(runs: &steps::Runs) -> Self {
        let [p50_ms, p90_ms, p99_ms] = runs.percentiles_ms;
        let steps::Runs { latency_ms, load_ms, first_ms, memory_kib, .. } = *runs;
        Self { latency_ms, p50_ms, p90_ms, p99_ms, load_ms, first_ms, memory_kib }
    }
}

/// A latency in an app beside that of the bench.
#[derive(Debug, Serialize, JsonSchema)]
struct App {
    /// The latency in the app.
    latency_ms: f64,
    /// That latency over the bench's, less one.
    difference: f64,
    /// Its ratio to the reference model in the bench.
    bench_ratio: f64,
    /// The same in the app.
    app_ratio: f64,
    /// Whether the latencies agree.
    agrees: bool,
    /// Whether the ratios agree: where they do and the latencies do not, the device ran at another
    /// speed.
    ratio_agrees: bool,
    /// What differs between the two.
    differences: Vec<String>,
}

impl Benched {
    fn of(target: &str, timed: &steps::Timed, app: Option<&Comparison>) -> Self {
        let all = std::iter::once(&timed.model).chain(&timed.others).chain([&timed.baseline]);
        let model = |runs: &steps::Runs| Model {
            name: runs.name.clone(),
            ratio: runs.latency_ms / timed.model.latency_ms,
            runs: RunsOf::of(runs),
        };
        Self {
            schema: 1,
            target: target.to_owned(),
            engine: timed.engine.clone(),
            speedup: timed.speedup,
            models: all.map(model).collect(),
            remarks: Remark::of(&timed.flags),
            app: app.map(|Comparison { bench, app, agrees, ratio_agrees, differences }| App {
                latency_ms: app.latency_ms,
                difference: app.latency_ms / bench.latency_ms - 1.0,
                bench_ratio: bench.ratio,
                app_ratio: app.ratio,
                agrees: *agrees,
                ratio_agrees: *ratio_agrees,
                differences: differences.clone(),
            }),
        }
    }
}

impl Document for Benched {
    fn parts(&self) -> Vec<Part> {
        let known = |value: Option<f64>, decimals: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
        };
        let row = |Model { name, ratio, runs }: &Model| {
            let mut row =
                vec![name.clone(), format!("{:.3}", runs.latency_ms), format!("{ratio:.2}")];
            row.extend([runs.p50_ms, runs.p90_ms, runs.p99_ms].map(|ms| format!("{ms:.2}")));
            let memory = runs.memory_kib.map(|kib| kib as f64 / 1024.0);
            row.extend([known(runs.load_ms, 1), known(runs.first_ms, 2), known(memory, 1)]);
            row
        };
        let header = ["", "ms", "ratio", "p50", "p90", "p99", "load", "first", "MiB"];
        let mut lines = Vec::new();
        if let Some(baseline) = self.models.last() {
            let speedup = self.speedup;
            lines.push(format!("speed-up: {speedup:.2} times faster than {}", baseline.name));
        }
        lines.extend(self.remarks.iter().map(Remark::line));
        let mut parts =
            vec![Part::numbers(&header, self.models.iter().map(row).collect()), Part::Text(lines)];
        parts.extend(self.app.as_ref().map(App::part));
        parts
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.models)
    }
}

impl App {
    fn part(&self) -> Part {
        let verdict = match (self.agrees, self.ratio_agrees) {
            (true, _) => "they agree",
            (false, true) => {
                "they differ, the ratios to the reference model agree: the device ran at another \
                 speed"
            }
            (false, false) => "they do not agree",
        };
        let apart = 100.0 * self.difference;
        let rows = [
            ("in the app", format!("{:.3} ms ({apart:+.1} %)", self.latency_ms)),
            (
                "ratio",
                format!("{:.3} in the bench, {:.3} in the app", self.bench_ratio, self.app_ratio),
            ),
            ("verdict", verdict.to_owned()),
        ];
        let differences = self.differences.iter().map(|difference| ("differs", difference.clone()));
        Part::named(rows.into_iter().chain(differences))
    }
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
        let document = Benched::of("local", &timed, None);
        insta::assert_snapshot!(crate::output::text(&document));
    }
}
