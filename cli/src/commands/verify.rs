//! `atb verify`: a bundle's outputs in three engines.

use std::path::PathBuf;

use atb_export::Bundle;
use atb_pipeline::{PipelineError, steps};
use clap::Args;

use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Bundle, as `atb export` writes it
    bundle: PathBuf,
    /// Model folder that it was exported from
    #[arg(long)]
    model: PathBuf,
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
    let difference = |value: Option<f32>| {
        value.map_or("not compared".to_owned(), |value| format!("{value:.2e}"))
    };
    let rows = [
        ("candle - tract", Some(parity.candle_tract)),
        ("candle - ONNX Runtime", parity.candle_ort),
        ("tract - ONNX Runtime", parity.tract_ort),
    ]
    .into_iter()
    .map(|(engines, value)| vec![engines.to_owned(), difference(value)])
    .collect();
    display::data(&display::table(&["engines", parity.what()], rows))?;
    let (tolerance, of_others) = (parity.tolerance(), parity.tolerance_of_others());
    let of_others = match tolerance == of_others {
        true => String::new(),
        false => format!(", of ONNX Runtime, which rounds activations too, {of_others}"),
    };
    eprintln!("over {} sentences; the tolerance is {tolerance}{of_others}", parity.sentences);
    verified?;
    Ok(())
}
