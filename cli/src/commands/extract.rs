//! `atb extract`: cut a sub-architecture out of a SuperPLM.

use std::path::PathBuf;

use atb_pipeline::Weights;
use atb_space::Architecture;
use atb_superplm::{extract, extract_compact};
use clap::Args;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The sub-architecture, `L-dm-df-h-dq`
    #[arg(long)]
    arch: Architecture,
    /// SuperPLM: a model folder, `auto` for the built-in one, or `teacher`
    #[arg(long, default_value = "auto")]
    superplm: String,
    /// In half the space: weights in f16, without the pooler
    #[arg(long)]
    compact: bool,
    /// Model folder to write
    #[arg(long, short)]
    out: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let weights = Weights::load(&arguments.superplm)?;
    let write = if arguments.compact { extract_compact } else { extract };
    write(&weights.plm, &arguments.arch, &arguments.out)?;
    display::data(&arguments.out.display().to_string())?;
    Ok(())
}
