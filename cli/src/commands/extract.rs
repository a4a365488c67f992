//! `atb extract`: cut a sub-architecture out of a SuperPLM.

use std::path::PathBuf;

use atb_pipeline::{HeldOutConfig, Weights, steps, teacher};
use atb_space::Architecture;
use atb_superplm::{Storage, TeacherEmbeddings, extract_as};
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
    /// Keep, beside the whole SuperPLM, the sentence embeddings that this teacher gives the
    /// built-in text, for searches without it: a model folder, or `auto` for all-MiniLM-L6-v2
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
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
    let plm = match &arguments.teacher {
        None => weights.plm,
        Some(choice) => {
            let text = steps::held_out(&HeldOutConfig::default(), &weights.plm)?;
            let embeddings = TeacherEmbeddings::new(&teacher(choice)?, &text)?;
            weights.plm.with_teacher_embeddings(embeddings)
        }
    };
    extract_as(&plm, arch, arguments.weights, !no_pooler, out)?;
    display::data(&arguments.out.display().to_string())?;
    Ok(())
}
