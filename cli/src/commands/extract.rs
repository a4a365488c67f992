//! `atb extract`: cut a sub-architecture out of a SuperPLM.

use std::path::PathBuf;

use atb_pipeline::Weights;
use atb_space::Architecture;
use atb_superplm::extract;
use clap::Args;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The sub-architecture, `L-dm-df-h-dq`
    #[arg(long)]
    arch: Architecture,
    /// SuperPLM: a model folder, or `auto` for the teacher
    #[arg(long, default_value = "auto")]
    superplm: String,
    /// Model folder to write
    #[arg(long, short)]
    out: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let weights = Weights::load(&arguments.superplm)?;
    extract(&weights.plm, &arguments.arch, &arguments.out)?;
    display::data(&arguments.out.display().to_string())?;
    Ok(())
}
