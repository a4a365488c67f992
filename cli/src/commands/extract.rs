//! `atb extract`: cut a sub-architecture out of a SuperPLM.

use std::path::PathBuf;

use atb_pipeline::Weights;
use atb_space::Architecture;
use atb_superplm::{Storage, extract_as};
use clap::Args;

use super::renamed;
use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The sub-architecture, `L-dm-df-h-dq`
    #[arg(long)]
    arch: Architecture,
    /// SuperPLM: a model folder, `auto` for the built-in one, or `teacher`
    #[arg(long, default_value = "auto")]
    superplm: String,
    /// How weights are stored: `f32`, `f16`, or `i8` with a scale for each row, which only atb
    /// reads
    #[arg(long, value_name = "TYPE", default_value_t)]
    weights: Storage,
    /// Leave out the pooler, which one-shot training does not train
    #[arg(long)]
    no_pooler: bool,
    /// Model folder to write
    #[arg(long, short)]
    out: PathBuf,
    /// Former name of `--weights f16 --no-pooler`
    #[arg(
        long,
        hide = true,
        num_args = 0..=1,
        default_missing_value = "",
        value_parser = renamed("--weights f16 --no-pooler")
    )]
    compact: Option<String>,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let weights = Weights::load(&arguments.superplm)?;
    let Arguments { arch, out, no_pooler, .. } = arguments;
    extract_as(&weights.plm, arch, arguments.weights, !no_pooler, out)?;
    display::data(&arguments.out.display().to_string())?;
    Ok(())
}
