//! `atb verify`: a bundle's outputs in three engines.

use std::path::PathBuf;

use atb_export::Bundle;
use atb_pipeline::{PipelineError, steps};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::display::Display;
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Bundle, as `atb export` writes it
    bundle: PathBuf,
    /// Model folder that it was exported from
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// How far engines are apart, as `atb verify --format json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Verified {
    /// Version of the schema: 1.
    schema: u32,
    /// What the file's weights are: `f32`, `f16` or `int8`.
    precision: String,
    /// What the differences are, in words.
    measure: String,
    /// Sentences that they are over.
    sentences: usize,
    /// Each pair of engines.
    engines: Vec<Pair>,
}

/// Two engines.
#[derive(Debug, Serialize, JsonSchema)]
struct Pair {
    /// Which.
    engines: String,
    /// Their difference, the largest over all outputs and sentences; null where one of them was
    /// not to be had.
    difference: Option<f32>,
    /// What it may be.
    tolerance: f32,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let mut bundle = Bundle::open(&arguments.bundle)?;
    let verified = steps::verify_bundle(&mut bundle, &arguments.model, &mut Display::new());
    let parity = match (&verified, bundle.report().parity) {
        (Ok(parity), _) => *parity,
        // The differences are worth seeing above all when they are too large.
        (Err(PipelineError::Parity { .. }), Some(parity)) => parity,
        _ => return Ok(verified.map(|_| ())?),
    };
    let (ours, others) = (parity.tolerance(), parity.tolerance_of_others());
    let pair = |engines: &str, difference, tolerance| Pair {
        engines: engines.to_owned(),
        difference,
        tolerance,
    };
    arguments.output.print(&Verified {
        schema: 1,
        precision: parity.precision.to_string(),
        measure: parity.what().to_owned(),
        sentences: parity.sentences,
        engines: vec![
            pair("candle - tract", Some(parity.candle_tract), ours),
            pair("candle - ONNX Runtime", parity.candle_ort, others),
            pair("tract - ONNX Runtime", parity.tract_ort, others),
        ],
    })?;
    verified?;
    Ok(())
}

impl Document for Verified {
    fn parts(&self) -> Vec<Part> {
        let row = |pair: &Pair| {
            let difference = pair.difference.map(|value| format!("{value:.2e}"));
            vec![
                pair.engines.clone(),
                difference.unwrap_or_else(|| "not compared".to_owned()),
                pair.tolerance.to_string(),
            ]
        };
        vec![
            Part::numbers(
                &["engines", &self.measure, "tolerance"],
                self.engines.iter().map(row).collect(),
            ),
            Part::Text(vec![format!("over {} sentences", self.sentences)]),
        ]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.engines)
    }
}
