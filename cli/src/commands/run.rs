//! `atb run`: the whole job.

use std::path::{Path, PathBuf};

use atb_pipeline::{Config, Files, RunReport, run};
use atb_space::Architecture;
use clap::Args;
use miette::IntoDiagnostic;

use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file; examples/host.toml documents every key. Without it the defaults
    /// hold, which need no configuration
    config: Option<PathBuf>,
    /// Print the whole configuration as it is in effect, and do nothing
    #[arg(long)]
    print_config: bool,
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
    let report = run(&config, &mut Display::new())?;
    let written = atb_report::write(&config.output)?;
    display::data(&summary(&report, &Files::of(&config.output), &written.page))?;
    Ok(())
}

fn summary(report: &RunReport, files: &Files, page: &Path) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let baseline = match report.baseline == Architecture::bert_base() {
        true => "BERT-base".to_owned(),
        false => report.baseline.id(),
    };
    let parity = match report.parity.tract_ort {
        Some(_) => {
            format!("candle, tract and ONNX Runtime agree to {:.1e}", report.parity.largest())
        }
        None => format!(
            "candle and tract agree to {:.1e}; ONNX Runtime was not compared",
            report.parity.largest()
        ),
    };
    let mut rows = vec![
        row("winner", report.winner.id()),
        row(
            "budget",
            format!(
                "{:.2} ms ({:.2} to {:.2} ms)",
                report.budget_ms, report.band_ms.0, report.band_ms.1
            ),
        ),
        row(
            "predicted",
            format!(
                "{:.2} ms ({:.2} to {:.2} ms)",
                report.predicted_ms, report.interval_ms.0, report.interval_ms.1
            ),
        ),
        row(
            "measured",
            format!(
                "{:.2} ms ({:+.1} %, {} the band)",
                report.measured_ms,
                100.0 * report.prediction_error,
                if report.in_band { "in" } else { "outside" }
            ),
        ),
        row(
            "speed-up",
            format!(
                "{:.1} times faster than {baseline} ({:.1} ms)",
                report.speedup, report.baseline_ms
            ),
        ),
        row("parity", parity),
        row("weights", report.superplm.description.clone()),
        row("bundle", files.bundle.display().to_string()),
        row("report", page.display().to_string()),
    ];
    rows.extend(display::no_device(&report.flags));
    display::table(&[], rows)
}

#[cfg(test)]
mod tests {
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
        insta::assert_snapshot!(summary(
            &report,
            &Files::of(Path::new("atb-run")),
            Path::new("atb-run/report/index.html")
        ));
    }
}
