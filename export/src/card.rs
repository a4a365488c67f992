//! The model card, `README.md` of a bundle, made from its report.

use std::fmt::Write;

use atb_interface::{INPUTS, OutputShape};

use crate::{BundleReport, Kept};

/// The card's text.
pub(crate) fn card(report: &BundleReport, source: Option<&str>) -> String {
    let mut card = String::new();
    let arch = &report.architecture;
    let workload = report.workload;
    let mut line = |text: String| {
        // Writing to a String does not fail.
        let _ = writeln!(card, "{text}");
    };
    line(format!("# {arch}\n"));
    line("A tiny BERT encoder, exported by autotinybert.\n".to_owned());
    line("| | |\n|---|---|".to_owned());
    line(format!("| layers | {} |", arch.num_layers()));
    line(format!("| hidden size | {} |", arch.hidden()));
    if let Some(layer) = arch.uniform_layer() {
        line(format!("| intermediate size | {} |", layer.intermediate));
        line(format!("| attention heads | {} of {} |", layer.heads, layer.head_size()));
    }
    line(format!("| parameters | {:.1} million |", report.parameters as f64 / 1e6));
    let megabytes = report.model_bytes as f64 / 1e6;
    line(format!("| model.onnx | {megabytes:.1} MB, {} |", report.precision));
    line(format!(
        "| input | {} x {} tokens (`{}`) |",
        workload.batch,
        workload.sequence,
        INPUTS.join("`, `")
    ));
    for OutputShape { name, shape } in &report.outputs {
        line(format!("| output `{name}` | {shape:?} |"));
    }
    if let Some(Kept { entries, of }) = report.vocabulary {
        line(format!("| vocabulary | {entries} of {of} entries |"));
    }
    if !report.labels.is_empty() {
        line(format!("| labels | {} |", report.labels.join(", ")));
    }
    if let Some(source) = source {
        line(format!("| cut out of | {source} |"));
    }
    for latency in &report.latency {
        let speedup = match (latency.speedup, &latency.baseline) {
            (Some(speedup), Some(baseline)) => {
                format!(", {speedup:.1} times faster than {baseline}")
            }
            _ => String::new(),
        };
        line(format!(
            "| latency on {} ({}) | {:.2} ms{speedup} |",
            latency.target, latency.engine, latency.measured_ms
        ));
    }
    if let Some(parity) = &report.parity {
        let what = parity.what();
        let difference =
            |value: Option<f32>| value.map_or("not compared".to_owned(), |v| format!("{v:.1e}"));
        line(format!("| {what} candle - tract | {:.1e} |", parity.candle_tract));
        line(format!("| {what} candle - ONNX Runtime | {} |", difference(parity.candle_ort)));
        line(format!("| {what} tract - ONNX Runtime | {} |", difference(parity.tract_ort)));
    }
    line(
        "\n`model.onnx` takes inputs of exactly the shape above; shorter texts are padded and \
         masked. `vocab.txt` and `tokenizer_config.json` are its tokenizer. `report.json` holds these figures for programs."
            .to_owned(),
    );
    card
}
