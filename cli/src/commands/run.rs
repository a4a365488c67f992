//! `atb run`: the whole job.

use std::path::PathBuf;

use atb_pipeline::{Config, Files, PlannedStep, RunPlan, RunReport, StepState, plan, run};
use atb_report::Written;
use atb_space::Architecture;
use clap::Args;
use miette::IntoDiagnostic;
use schemars::JsonSchema;
use serde::Serialize;

use crate::display::{self, Display, Remark};
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file; examples/host.toml documents every key. Without it the defaults
    /// hold, which need no configuration
    config: Option<PathBuf>,
    /// Print the whole configuration as it is in effect, and do nothing
    #[arg(long)]
    print_config: bool,
    /// Print the steps, what of them is there already, and about how long the rest takes and how
    /// much memory; write nothing and ask no device for anything
    #[arg(long, conflicts_with = "print_config")]
    plan: bool,
    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if arguments.print_config {
        let text = toml::to_string(&config).into_diagnostic()?;
        return display::data(text.trim_end());
    }
    if arguments.plan {
        return arguments.output.print(&Steps::of(&plan(&config)?));
    }
    let report = run(&config, &mut Display::new())?;
    let written = atb_report::write(&config.output, &[])?;
    arguments.output.print(&Found::of(&report, &Files::of(&config.output), &written))
}

/// What a run would do, as `atb run --plan --format json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Steps {
    /// Version of the schema: 1.
    schema: u32,
    /// The device.
    target: String,
    /// Whether the device's speed is known from measurements in the folder, rather than taken for
    /// that of a core of a server.
    speed_is_known: bool,
    /// The steps, in order.
    steps: Vec<Step>,
}

/// A step of a run.
#[derive(Debug, Serialize, JsonSchema)]
struct Step {
    /// Its name.
    step: String,
    /// Where it is done: `device` or `here`.
    place: String,
    /// What of it is there: `kept`, `continues` or `new`.
    state: String,
    /// How many measurements are there of a step that continues.
    done: Option<usize>,
    /// Of how many.
    total: Option<usize>,
    /// About how long the rest of it takes.
    seconds: f64,
    /// About how much memory it takes at most, in MiB.
    memory_mib: f64,
}

impl Step {
    fn of(step: &PlannedStep) -> Self {
        let (state, done, total) = match step.state {
            StepState::Kept => ("kept", None, None),
            StepState::Continues { done, total } => ("continues", Some(done), Some(total)),
            StepState::New => ("new", None, None),
        };
        Self {
            step: step.name.to_owned(),
            place: if step.on_device { "device" } else { "here" }.to_owned(),
            state: state.to_owned(),
            done,
            total,
            seconds: step.seconds,
            memory_mib: step.memory_mib,
        }
    }
}

impl Steps {
    fn of(plan: &RunPlan) -> Self {
        Self {
            schema: 1,
            target: plan.target.clone(),
            speed_is_known: plan.speed_is_known,
            steps: plan.steps.iter().map(Step::of).collect(),
        }
    }
}

impl Document for Steps {
    fn parts(&self) -> Vec<Part> {
        let about = |seconds: f64| match seconds {
            none if none <= 0.0 => "-".to_owned(),
            few if few < 90.0 => format!("{few:.0} s"),
            many => format!("{:.0} min", many / 60.0),
        };
        let row = |step: &Step| {
            vec![
                step.step.clone(),
                step.place.clone(),
                match (step.done, step.total) {
                    (Some(done), Some(total)) => format!("{done} of {total} are there"),
                    _ => step.state.clone(),
                },
                about(step.seconds),
                format!("{:.0} MiB", step.memory_mib),
            ]
        };
        let total = self.steps.iter().map(|step| step.seconds).sum();
        let speed = match self.speed_is_known {
            true => format!("as fast as `{}` was when it was measured before", self.target),
            false => format!("if `{}` is as fast as a core of a server", self.target),
        };
        vec![
            Part::Words {
                header: ["step", "where", "", "about", "memory"].map(str::to_owned).to_vec(),
                rows: self.steps.iter().map(row).collect(),
            },
            Part::Text(vec![match total {
                none if none <= 0.0 => "nothing is left to do".to_owned(),
                total => format!("about {} in all, {speed}", about(total)),
            }]),
        ]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.steps)
    }
}

/// What a run found, as `atb run --format json` prints it; `report.json` and `figures.json` have
/// the rest.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    /// Version of the schema: 1.
    schema: u32,
    /// The device.
    target: String,
    /// The chosen architecture.
    winner: String,
    /// Its loss on held-out text.
    loss: f64,
    /// The latency aimed at.
    budget_ms: f64,
    /// The band around it, its lower and upper end.
    band_ms: (f64, f64),
    /// The winner's predicted latency.
    predicted_ms: f64,
    /// The interval that 90 % of measurements lie in.
    interval_ms: (f64, f64),
    /// Latency of the exported file.
    measured_ms: f64,
    /// The measured latency over the predicted one, less one.
    prediction_error: f64,
    /// Whether the measured latency lies in the band.
    in_band: bool,
    /// What the speed-up is against.
    baseline: String,
    /// Its latency.
    baseline_ms: f64,
    /// Times that the exported file is faster.
    speedup: f64,
    /// Largest difference of the engines' outputs.
    parity: f32,
    /// Whether ONNX Runtime is among the engines.
    parity_with_onnx_runtime: bool,
    /// Where the weights come from.
    weights: String,
    /// The bundle's folder.
    bundle: String,
    /// `report.json`, all that the run found.
    report: String,
    /// The page.
    page: String,
    /// Every number of the page.
    figures: String,
    /// Why the latencies say nothing about a device; empty if they do.
    remarks: Vec<Remark>,
}

impl Found {
    fn of(report: &RunReport, files: &Files, written: &Written) -> Self {
        Self {
            schema: 1,
            target: report.target.clone(),
            winner: report.winner.id(),
            loss: report.loss,
            budget_ms: report.budget_ms,
            band_ms: report.band_ms,
            predicted_ms: report.predicted_ms,
            interval_ms: report.interval_ms,
            measured_ms: report.measured_ms,
            prediction_error: report.prediction_error,
            in_band: report.in_band,
            baseline: report.baseline.id(),
            baseline_ms: report.baseline_ms,
            speedup: report.speedup,
            parity: report.parity.largest(),
            parity_with_onnx_runtime: report.parity.tract_ort.is_some(),
            weights: report.superplm.description.clone(),
            bundle: files.bundle.display().to_string(),
            report: files.report.display().to_string(),
            page: written.page.display().to_string(),
            figures: written.figures.display().to_string(),
            remarks: Remark::of(&report.flags),
        }
    }
}

impl Document for Found {
    fn parts(&self) -> Vec<Part> {
        let baseline = match self.baseline == Architecture::bert_base().id() {
            true => "BERT-base",
            false => &self.baseline,
        };
        let parity = match self.parity_with_onnx_runtime {
            true => format!("candle, tract and ONNX Runtime agree to {:.1e}", self.parity),
            false => {
                format!(
                    "candle and tract agree to {:.1e}; ONNX Runtime was not compared",
                    self.parity
                )
            }
        };
        let ms = |value: f64, (low, high): (f64, f64)| {
            format!("{value:.2} ms ({low:.2} to {high:.2} ms)")
        };
        let rows = [
            ("winner", self.winner.clone()),
            ("budget", ms(self.budget_ms, self.band_ms)),
            ("predicted", ms(self.predicted_ms, self.interval_ms)),
            (
                "measured",
                format!(
                    "{:.2} ms ({:+.1} %, {} the band)",
                    self.measured_ms,
                    100.0 * self.prediction_error,
                    if self.in_band { "in" } else { "outside" }
                ),
            ),
            (
                "speed-up",
                format!(
                    "{:.1} times faster than {baseline} ({:.1} ms)",
                    self.speedup, self.baseline_ms
                ),
            ),
            ("parity", parity),
            ("weights", self.weights.clone()),
            ("bundle", self.bundle.clone()),
            ("report", self.page.clone()),
        ];
        let remarks = self.remarks.iter().map(|remark| (remark.flag.as_str(), remark.text.clone()));
        vec![Part::named(rows.into_iter().chain(remarks))]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(std::slice::from_ref(self))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_summary_as_a_user_sees_it() {
        let json = r#"{
            "schema": 1, "target": "local", "workload": {"batch": 1, "sequence": 128},
            "winner": "4-256-480-12-192", "loss": 0.5, "budget_ms": 10.0,
            "band_ms": [8.5, 11.0], "predicted_ms": 9.5, "interval_ms": [9.1, 9.9],
            "measured_ms": 9.69, "prediction_error": 0.02, "in_band": true,
            "baseline": "12-768-3072-12-768", "baseline_ms": 160.0, "speedup": 16.51,
            "predictor": {"measured": 36, "mape": 0.02, "within_5": 0.9, "within_10": 1.0,
                          "tau": 0.98, "noise_floor": 0.005},
            "parity": {"precision": "f32", "candle_tract": 2e-6, "candle_ort": null, "tract_ort": null,
                       "sentences": 12},
            "superplm": {"description": "the teacher", "trained": true},
            "candidates": 1000, "evaluated": 100, "finalists": [], "warnings": []
        }"#;
        let report: RunReport = serde_json::from_str(json).expect("a report");
        let within = |name: &str| Path::new("atb-run/report").join(name);
        let written = Written {
            page: within("index.html"),
            markdown: within("report.md"),
            figures: within("figures.json"),
        };
        let found = Found::of(&report, &Files::of(Path::new("atb-run")), &written);
        insta::assert_snapshot!(crate::output::text(&found));
    }
}
