//! `atb export`: a model folder to a bundle.

use std::path::PathBuf;

use atb_export::{Options, Vocabulary};
use atb_pipeline::steps;
use atb_space::Precision;
use clap::Args;
use miette::bail;

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
    /// Words that the bundle knows: so many of the most frequent, those that a text file is made
    /// of, or those that a file lists, one a line; by default all of the model's
    #[arg(long, value_name = "TEXT|LIST|N")]
    vocabulary: Option<Vocabulary>,
    /// Write the bundle into one file as well, beside the folder and called as it with `.atb`
    #[arg(long)]
    single_file: bool,
    /// Whether apps get embeddings of length one; by default as the folder's `modules.json` says
    #[arg(long, value_name = "BOOL")]
    normalised: Option<bool>,
    /// Least and largest score that apps get of a model that gives a number, as in `0,5`; by
    /// default those of the task that it was fine-tuned on
    #[arg(
        long,
        value_name = "LEAST,LARGEST",
        value_delimiter = ',',
        num_args = 1,
        allow_hyphen_values = true
    )]
    score_range: Option<Vec<f32>>,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let Arguments { model, workload, precision, heads, out, normalised, .. } = arguments;
    let score_range = match arguments.score_range.as_deref() {
        Some([least, largest]) => Some([*least, *largest]),
        Some(other) => {
            let count = other.len();
            bail!(help = "as in `0,5`", "`--score-range` takes two numbers, not {count}")
        }
        None => steps::score_range(model),
    };
    let options = Options {
        workload: workload.read()?,
        precision: *precision,
        heads: heads.clone(),
        score_range,
        normalised: *normalised,
        vocabulary: arguments.vocabulary.clone(),
    };
    let bundle = atb_export::export(model, &options, out)?;
    if let Some(kept) = bundle.report().vocabulary {
        eprintln!("vocabulary {} of {} entries", kept.entries, kept.of);
    }
    display::data(&bundle.model_file().display().to_string())?;
    if arguments.single_file {
        let mut file = out.clone().into_os_string();
        file.push(".atb");
        bundle.pack(file.as_ref())?;
        display::data(&file.display().to_string())?;
    }
    Ok(())
}
