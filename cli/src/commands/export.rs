//! `atb export`: a model folder to a bundle.

use std::path::PathBuf;

use atb_export::{Options, Vocabulary};
use atb_measurements::ProtocolSettings;
use atb_pipeline::steps::{self, Conditions, Scored, Variant, Variants};
use atb_settings::Checked;
use atb_space::Precision;
use atb_targets::Target;
use atb_tasks::Task;
use clap::{Args, ValueEnum};
use miette::{IntoDiagnostic, bail};

use super::WorkloadArguments;
use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Model folder: config.json, model.safetensors or pytorch_model.bin, vocab.txt
    model: PathBuf,
    #[command(flatten)]
    workload: WorkloadArguments,
    /// What the word embeddings and the encoder's products are: `f32`; `f16`, in half of the
    /// bytes; or `int8`, in a quarter
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
    /// Measure f32, f16, int8 and a smaller vocabulary on the target and write the one that the
    /// conditions ask for
    #[arg(long, value_name = "all", value_enum)]
    variants: Option<Kinds>,
    /// Device that the variants are measured on: a built-in name or a target file
    #[arg(long, default_value = "local", requires = "variants")]
    target: String,
    /// Most bytes of the bundle in one file, as in `12MB`: of the variants that are no larger the
    /// fastest is written
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "variants")]
    largest_file: Option<u64>,
    /// Least score on the task
    #[arg(long, value_name = "SCORE", requires = "task")]
    least_score: Option<f64>,
    /// Task that the variants are scored on, as in `atb evaluate`
    #[arg(long, value_name = "TASK", requires = "variants")]
    task: Option<String>,
    /// Folder of the task's files, or the one above it
    #[arg(long, value_name = "FOLDER", requires = "task")]
    data: Option<PathBuf>,
}

/// Which variants are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kinds {
    /// f32, f16, int8, and each with fewer words
    All,
}

/// A number of bytes, in bytes, kB or MB.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match (text.strip_suffix("MB"), text.strip_suffix("kB")) {
        (Some(number), _) => (number, 1e6),
        (_, Some(number)) => (number, 1e3),
        _ => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number * unit < 1e15 => Ok((number * unit) as u64),
        _ => Err("a size is a number of bytes, as `12000000`, `12000kB` or `12MB`".to_owned()),
    }
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
    let options = match arguments.variants {
        Some(Kinds::All) => chosen_variant(arguments, &options)?,
        None => options,
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

/// Measures the variants, shows them, and gives the options of the one that is shipped.
fn chosen_variant(arguments: &Arguments, options: &Options) -> miette::Result<Options> {
    let target = Target::find(&arguments.target)?;
    let settings = ProtocolSettings { workload: options.workload, ..ProtocolSettings::default() };
    settings.checked()?;
    let protocol = settings.on(target.threads, &target.cores);
    let data = arguments.data.as_deref();
    let scored = match &arguments.task {
        Some(name) => {
            let task = Task::find(name)?;
            let splits = task.evaluated();
            let there = |split: &&&str| task.split_file(data, split).is_ok();
            let split = splits.iter().find(there).or(splits.first()).copied().unwrap_or("dev");
            let split = task.read_split(data, split)?;
            Some(Scored { task, split })
        }
        None => None,
    };
    let conditions =
        Conditions { largest_file: arguments.largest_file, least_score: arguments.least_score };
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let found = steps::variants(
        &arguments.model,
        options,
        &target,
        &protocol,
        scored.as_ref(),
        conditions,
        scratch.path(),
        &mut Display::new(),
    )?;
    display::data(&table(&found))?;
    Ok(found.shipped().map_or_else(|| options.clone(), |shipped| shipped.options.clone()))
}

/// The variants as a user sees them.
fn table(found: &Variants) -> String {
    let known = |value: Option<f64>, decimals: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
    };
    let row = |(number, variant): (usize, &Variant)| {
        let [p50, p90, _] = variant.runs.percentiles_ms;
        let mut row = vec![
            variant.name.clone(),
            format!("{:.1}", variant.bytes as f64 / 1e6),
            variant.entries.to_string(),
            format!("{:.3}", variant.runs.latency_ms),
            format!("{p50:.2}"),
            format!("{p90:.2}"),
            known(variant.runs.load_ms, 1),
            known(variant.runs.memory_kib.map(|kib| kib as f64 / 1024.0), 1),
            format!("{:.4}", variant.difference),
        ];
        if found.metric.is_some() {
            row.push(known(variant.score, 4));
        }
        row.push(match (number == found.chosen, variant.worth_having) {
            (true, _) => "written".to_owned(),
            (false, true) => "worth having".to_owned(),
            (false, false) => String::new(),
        });
        row
    };
    let mut header = vec!["", "MB", "words", "ms", "p50", "p90", "load", "MiB", "difference"];
    header.extend(found.metric.as_deref());
    header.push("");
    let mut text = display::table(&header, found.all.iter().enumerate().map(row).collect());
    for line in display::no_device(&found.flags) {
        text.push('\n');
        text.push_str(&line.join(": "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("12MB"), Ok(12_000_000));
        assert_eq!(size("1.5 kB"), Ok(1500));
        assert_eq!(size("77"), Ok(77));
        for wrong in ["", "MB", "-1MB", "0", "12GB", "inf", "NaN"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
