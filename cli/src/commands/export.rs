//! `atb export`: a model folder to a bundle.

use std::path::PathBuf;

use clap::Args;

use super::WorkloadArguments;
use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Model folder: config.json, model.safetensors or pytorch_model.bin, vocab.txt
    model: PathBuf,
    #[command(flatten)]
    workload: WorkloadArguments,
    /// Bundle folder to write; an older bundle there is replaced
    #[arg(long, short, default_value = "bundle")]
    out: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let bundle = atb_export::export(&arguments.model, arguments.workload.into(), &arguments.out)?;
    display::data(&bundle.model_file().display().to_string())?;
    Ok(())
}
