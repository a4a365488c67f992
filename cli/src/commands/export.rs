//! `atb export`: a model folder to a bundle.

use std::path::PathBuf;

use atb_export::Options;
use atb_space::Precision;
use clap::Args;

use super::WorkloadArguments;
use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Model folder: config.json, model.safetensors or pytorch_model.bin, vocab.txt
    model: PathBuf,
    #[command(flatten)]
    workload: WorkloadArguments,
    /// What the word embeddings and the encoder's products are: `f32`, or `int8`, in a quarter of
    /// the bytes
    #[arg(long, default_value_t)]
    precision: Precision,
    /// Head whose outputs the file gives; may be given several times. By default those that the
    /// model was trained for
    #[arg(long = "head", value_name = "HEAD")]
    heads: Vec<String>,
    /// Bundle folder to write; an older bundle there is replaced
    #[arg(long, short, default_value = "bundle")]
    out: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let Arguments { model, workload, precision, heads, out } = arguments;
    let options =
        Options { workload: workload.read()?, precision: *precision, heads: heads.clone() };
    let bundle = atb_export::export(model, &options, out)?;
    display::data(&bundle.model_file().display().to_string())?;
    Ok(())
}
