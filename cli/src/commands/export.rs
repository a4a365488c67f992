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
use schemars::JsonSchema;
use serde::Serialize;

use super::WorkloadArguments;
use super::bench::RunsOf;
use crate::display::{Display, Remark};
use crate::output::{Document, Lines, OutputArguments, Part};

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
    #[command(flatten)]
    output: OutputArguments,
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
    let variants = match arguments.variants {
        Some(Kinds::All) => Some(measured_variants(arguments, &options)?),
        None => None,
    };
    let shipped = variants.as_ref().and_then(Variants::shipped);
    let bundle = atb_export::export(model, shipped.map_or(&options, |it| &it.options), out)?;
    let single_file = match arguments.single_file {
        true => {
            let mut file = out.clone().into_os_string();
            file.push(".atb");
            bundle.pack(file.as_ref())?;
            Some(file.display().to_string())
        }
        false => None,
    };
    arguments.output.print(&Exported {
        schema: 1,
        model: bundle.model_file().display().to_string(),
        single_file,
        vocabulary: bundle
            .report()
            .vocabulary
            .map(|kept| Kept { entries: kept.entries, of: kept.of }),
        variants: variants.as_ref().map(MeasuredVariants::of),
    })
}

/// What was exported, as `atb export --format json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Exported {
    /// Version of the schema: 1.
    schema: u32,
    /// The ONNX file in the bundle.
    model: String,
    /// The bundle in one file; null unless it was asked for.
    single_file: Option<String>,
    /// Words that the bundle knows of those of the model; null if all.
    vocabulary: Option<Kept>,
    /// The variants that it was chosen from; null unless they were asked for.
    variants: Option<MeasuredVariants>,
}

/// What is kept of a vocabulary.
#[derive(Debug, Serialize, JsonSchema)]
struct Kept {
    /// Entries kept.
    entries: usize,
    /// Entries of the model.
    of: usize,
}

/// Variants of a model.
#[derive(Debug, Serialize, JsonSchema)]
struct MeasuredVariants {
    /// The metric of the scores; null without a task.
    metric: Option<String>,
    /// Each of them, the model as it is first.
    variants: Vec<MeasuredVariant>,
    /// Why the latencies say nothing about a device; empty if they do.
    remarks: Vec<Remark>,
}

/// A variant.
#[derive(Debug, Serialize, JsonSchema)]
struct MeasuredVariant {
    /// `f32`, `f16` or `int8`, with `pruned` where words were left out.
    name: String,
    /// Bytes of the bundle in one file.
    bytes: u64,
    /// Entries of its vocabulary.
    entries: usize,
    #[serde(flatten)]
    runs: RunsOf,
    /// How far what an app gets is from what the first variant gives, from 0 to 1.
    difference: f64,
    /// What it scores on the task.
    score: Option<f64>,
    /// Whether it was written.
    written: bool,
    /// Whether no other is as good in everything and better in something.
    worth_having: bool,
}

impl MeasuredVariants {
    fn of(found: &Variants) -> Self {
        let variant = |(number, variant): (usize, &Variant)| MeasuredVariant {
            name: variant.name.clone(),
            bytes: variant.bytes,
            entries: variant.entries,
            runs: RunsOf::of(&variant.runs),
            difference: variant.difference,
            score: variant.score,
            written: number == found.chosen,
            worth_having: variant.worth_having,
        };
        Self {
            metric: found.metric.clone(),
            variants: found.all.iter().enumerate().map(variant).collect(),
            remarks: Remark::of(&found.flags),
        }
    }

    fn parts(&self) -> Vec<Part> {
        let known = |value: Option<f64>, decimals: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
        };
        let row = |variant: &MeasuredVariant| {
            let runs = &variant.runs;
            let mut row = vec![
                variant.name.clone(),
                format!("{:.1}", variant.bytes as f64 / 1e6),
                variant.entries.to_string(),
                format!("{:.3}", runs.latency_ms),
                format!("{:.2}", runs.p50_ms),
                format!("{:.2}", runs.p90_ms),
                known(runs.load_ms, 1),
                known(runs.memory_kib.map(|kib| kib as f64 / 1024.0), 1),
                format!("{:.4}", variant.difference),
            ];
            if self.metric.is_some() {
                row.push(known(variant.score, 4));
            }
            row.push(match (variant.written, variant.worth_having) {
                (true, _) => "written".to_owned(),
                (false, true) => "worth having".to_owned(),
                (false, false) => String::new(),
            });
            row
        };
        let mut header = vec!["", "MB", "words", "ms", "p50", "p90", "load", "MiB", "difference"];
        header.extend(self.metric.as_deref());
        header.push("");
        let mut parts = vec![Part::numbers(&header, self.variants.iter().map(row).collect())];
        if !self.remarks.is_empty() {
            parts.push(Part::Text(self.remarks.iter().map(Remark::line).collect()));
        }
        parts
    }
}

impl Document for Exported {
    fn parts(&self) -> Vec<Part> {
        let mut parts = self.variants.as_ref().map_or_else(Vec::new, MeasuredVariants::parts);
        if let Some(Kept { entries, of }) = self.vocabulary {
            parts.push(Part::Text(vec![format!("vocabulary {entries} of {of} entries")]));
        }
        let files = std::iter::once(&self.model).chain(&self.single_file);
        parts.push(Part::Text(files.cloned().collect()));
        parts
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        match &self.variants {
            Some(variants) => Lines::of(&variants.variants),
            None => Lines::of(std::slice::from_ref(self)),
        }
    }
}

/// Measures the variants.
fn measured_variants(arguments: &Arguments, options: &Options) -> miette::Result<Variants> {
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
    Ok(steps::variants(
        &arguments.model,
        options,
        &target,
        &protocol,
        scored.as_ref(),
        conditions,
        scratch.path(),
        &mut Display::new(),
    )?)
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
