//! `atb evaluate`: score models on tasks, with intervals and paired differences.

use std::path::{Path, PathBuf};

use atb_settings::Layers;
use atb_tasks::{
    Difference, EvaluateSettings, Evaluation, Frequencies, Interval, Model, Split, Task, compare,
    evaluate,
};
use atb_text::Corpus;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::FormerJson;
use crate::display;
use crate::output::{Document, Lines, OutputArguments, Part};

/// Version of the JSON that is printed.
const SCHEMA: u32 = 1;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Models: folders, bundles, ONNX files, `teacher`, or the word embeddings of one of these
    /// alone, `static:MODEL`, or weighted by inverse document frequency, `static-idf:MODEL`
    #[arg(required = true)]
    models: Vec<String>,
    /// Task: a built-in name (`STS-B-similarity`, `SST-2`, `SQuAD`, ...) or the TOML file of
    /// your own; may be given several times
    #[arg(long = "task", value_name = "TASK", required = true)]
    tasks: Vec<String>,
    /// Folder of the task's files, or the one above it; beside the task's TOML file if absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Split to evaluate on; may be given several times. By default those whose name begins
    /// with `dev`
    #[arg(long = "split", value_name = "SPLIT")]
    splits: Vec<String>,
    /// File to evaluate on, in place of the split's
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Model that the others are compared with, on the same examples
    #[arg(long, value_name = "MODEL")]
    baseline: Option<String>,
    /// Model whose word embeddings alone stand beside the others, plain and weighted, where
    /// embeddings are asked for; the first model's if absent
    #[arg(long = "static", value_name = "MODEL")]
    words: Option<String>,
    /// Text that document frequencies are counted in; the training split's if absent, and
    /// without one the texts that are evaluated on
    #[arg(long, value_name = "FILE")]
    frequencies: Option<PathBuf>,
    /// Most tokens of a text or pair
    #[arg(long)]
    sequence: Option<usize>,
    /// How often the examples are drawn again for the intervals
    #[arg(long)]
    resamples: Option<usize>,
    /// Share of the resamples that lie within an interval
    #[arg(long)]
    confidence: Option<f64>,
    /// Seed of what is drawn
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    former: FormerJson,
    #[command(flatten)]
    output: OutputArguments,
}

/// What a model scores, and how far it is from the baseline.
#[derive(Serialize, JsonSchema)]
struct Row {
    #[serde(flatten)]
    evaluation: Evaluation,
    /// Absent for the baseline itself and without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    above_baseline: Option<Vec<Difference>>,
}

/// Scores of models, as `atb evaluate --format json` prints them. Values are fractions and
/// correlations, not per cent.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    /// Version of the schema: 1.
    schema: u32,
    /// How the scores were taken.
    settings: EvaluateSettings,
    /// The model that the others are compared with.
    baseline: Option<String>,
    /// One for each task, split and model.
    results: Vec<Row>,
}

/// A score as a line of CSV.
#[derive(Serialize)]
struct Line<'a> {
    task: &'a str,
    split: &'a str,
    model: &'a str,
    examples: usize,
    metric: String,
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    above_baseline: Option<f64>,
    above_low: Option<f64>,
    above_high: Option<f64>,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let settings: EvaluateSettings = Layers::new()
        .flag("sequence", "--sequence", arguments.sequence)
        .flag("span_sequence", "--sequence", arguments.sequence)
        .flag("resamples", "--resamples", arguments.resamples)
        .flag("confidence", "--confidence", arguments.confidence)
        .flag("seed", "--seed", arguments.seed)
        .read()?;
    // All data first: it is wrong sooner than a model is run.
    let mut data = Vec::new();
    for name in &arguments.tasks {
        let task = Task::find(name)?;
        for split in splits(&task, arguments)? {
            data.push((task.clone(), split));
        }
    }
    let mut models: Vec<Model> = Vec::new();
    if let Some(baseline) = &arguments.baseline {
        models.push(open(baseline)?);
    }
    for name in &arguments.models {
        if Some(name) != arguments.baseline.as_ref() {
            models.push(open(name)?);
        }
    }
    let embeddings = data.iter().any(|(task, _)| task.kind.is_of_embeddings());
    let tables = if embeddings { static_tables(&models, arguments)? } else { Vec::new() };

    let mut rows = Vec::new();
    for (task, split) in &data {
        let tables = tables.iter().filter(|_| task.kind.is_of_embeddings());
        let begin = rows.len();
        for model in models.iter().chain(tables) {
            let frequencies = match model.is_weighted() {
                true => Some(frequencies(model, task, split, arguments)?),
                false => None,
            };
            display::progress(&format!("{} {}: {}", task.name, split.name, model.name()));
            let evaluation = evaluate(model, task, split, frequencies.as_ref(), &settings)?;
            rows.push(Row { evaluation, above_baseline: None });
        }
        if arguments.baseline.is_some() {
            let [baseline, others @ ..] = &mut rows[begin..] else { continue };
            for row in others {
                let difference = compare(&row.evaluation, &baseline.evaluation, &settings)?;
                row.above_baseline = Some(difference);
            }
        }
    }
    let baseline = arguments.baseline.clone();
    arguments.output.print(&Report { schema: SCHEMA, settings, baseline, results: rows })
}

/// The splits of a task that models are evaluated on, read and checked.
fn splits(task: &Task, arguments: &Arguments) -> miette::Result<Vec<Split>> {
    let data = arguments.data.as_deref();
    let names: Vec<&str> = match (&arguments.splits[..], &arguments.file) {
        ([], None) => {
            // One of several files that may be missing, if another is there.
            let names = task.evaluated();
            let there = |name: &&str| task.split_file(data, name).is_ok();
            let found: Vec<&str> = names.iter().copied().filter(there).collect();
            if found.is_empty() { names } else { found }
        }
        ([], Some(_)) => task.evaluated().into_iter().take(1).collect(),
        (names, _) => names.iter().map(String::as_str).collect(),
    };
    let mut train = None;
    let mut splits = Vec::new();
    for name in names {
        let split = match &arguments.file {
            Some(file) => task.read_file(data, name, file)?,
            None => task.read_split(data, name)?,
        };
        if split.left_out > 0 {
            let (path, count) = (split.path.display(), split.left_out);
            display::note(&format!("warning: {path}: {count} rows that end early are left out"));
        }
        if name != "train" && task.split_file(data, "train").is_ok() {
            let train = match &train {
                Some(train) => train,
                None => train.insert(task.read_split(data, "train")?),
            };
            let leaks = task.check_leaks(train, &split)?;
            if leaks > 0 && !task.kind.is_of_embeddings() {
                display::note(&format!(
                    "warning: {leaks} of the {} examples of {}'s `{name}` are in `train` as well",
                    split.len(),
                    task.name
                ));
            }
        }
        splits.push(split);
    }
    Ok(splits)
}

fn open(name: &str) -> miette::Result<Model> {
    let (kind, path) = match name.split_once(':') {
        Some((kind @ ("static" | "static-idf"), path)) => (Some(kind), path),
        _ => (None, name),
    };
    let path = match path {
        "teacher" => atb_fetch::teacher()?.display().to_string(),
        path => path.to_owned(),
    };
    let model = Model::open(&kind.map_or(path.clone(), |kind| format!("{kind}:{path}")))?;
    Ok(model.named(name.trim_end_matches('/')))
}

/// The tables of word embeddings that stand beside the models.
fn static_tables(models: &[Model], arguments: &Arguments) -> miette::Result<Vec<Model>> {
    let named = arguments.words.as_deref().map(open).transpose()?;
    let source = match (&named, models) {
        (Some(model), _) => model,
        (None, [model, ..]) => model,
        (None, []) => return Ok(Vec::new()),
    };
    let mut tables = Vec::new();
    for weighted in [false, true] {
        match source.static_table(weighted) {
            Ok(table) if models.iter().all(|model| model.name() != table.name()) => {
                tables.push(table);
            }
            Ok(_) => {}
            Err(error) if named.is_some() => return Err(error.into()),
            Err(error) => {
                let warning = format!("warning: no static table beside the models: {error}");
                display::note(&warning);
                display::hint(Some("name a model folder with --static"));
                break;
            }
        }
    }
    Ok(tables)
}

/// Document frequencies of the words, from the text that is there.
fn frequencies(
    model: &Model,
    task: &Task,
    split: &Split,
    arguments: &Arguments,
) -> miette::Result<Frequencies> {
    let of = |texts: &[&str]| Ok(Frequencies::of(model.tokenizer(), texts)?);
    if let Some(path) = &arguments.frequencies {
        let paragraphs = Corpus::open(Path::new(path))?.collect::<Result<Vec<_>, _>>()?;
        return of(&paragraphs.iter().map(|paragraph| &*paragraph.text).collect::<Vec<_>>());
    }
    let data = arguments.data.as_deref();
    if task.split_file(data, "train").is_ok() {
        return of(&Task { most: None, ..task.clone() }.read_split(data, "train")?.texts());
    }
    of(&split.texts())
}

impl Document for Report {
    fn parts(&self) -> Vec<Part> {
        vec![table(&self.results, self.baseline.is_some(), self.settings.confidence)]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        let mut lines = Vec::new();
        for Row { evaluation, above_baseline } in &self.results {
            for (number, score) in evaluation.scores.iter().enumerate() {
                let above = above_baseline.as_ref().and_then(|all| all.get(number));
                let above_interval = above.and_then(|above| above.interval);
                lines.push(Line {
                    task: &evaluation.task,
                    split: &evaluation.split,
                    model: &evaluation.model,
                    examples: evaluation.examples,
                    metric: score.metric.to_string(),
                    value: score.value,
                    low: score.interval.map(|interval| interval.low),
                    high: score.interval.map(|interval| interval.high),
                    above_baseline: above.and_then(|above| above.value),
                    above_low: above_interval.map(|interval| interval.low),
                    above_high: above_interval.map(|interval| interval.high),
                });
            }
        }
        Lines::of(&lines)
    }
}

fn table(rows: &[Row], compared: bool, confidence: f64) -> Part {
    let percent = format!("{:.0} %", 100.0 * confidence);
    let mut header = vec!["task".to_owned(), "metric".to_owned(), "model".to_owned()];
    header.extend(["score".to_owned(), percent.clone()]);
    if compared {
        header.extend(["above baseline".to_owned(), percent]);
    }
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.2}", 100.0 * v));
    let signed =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:+.2}", 100.0 * v));
    let interval =
        |interval: Option<Interval>, number: &dyn Fn(Option<f64>) -> String| match interval {
            Some(Interval { low, high }) => {
                format!("{} to {}", number(Some(low)), number(Some(high)))
            }
            None => "-".to_owned(),
        };
    let mut lines = Vec::new();
    // A metric after the other, each with all models below each other.
    for group in rows.chunk_by(|a, b| {
        (&a.evaluation.task, &a.evaluation.split) == (&b.evaluation.task, &b.evaluation.split)
    }) {
        let metrics = group.first().map_or(0, |row| row.evaluation.scores.len());
        for metric in 0..metrics {
            for Row { evaluation, above_baseline } in group {
                let score = evaluation.scores[metric];
                let mut line = vec![
                    format!("{} {}", evaluation.task, evaluation.split),
                    score.metric.to_string(),
                    evaluation.model.clone(),
                    number(score.value),
                    interval(score.interval, &number),
                ];
                if compared {
                    let difference = above_baseline.as_ref().map(|all| all[metric]);
                    line.push(difference.map_or(String::new(), |d| signed(d.value)));
                    line.push(difference.map_or(String::new(), |d| interval(d.interval, &signed)));
                }
                lines.push(line);
            }
        }
    }
    Part::Numbers { header, rows: lines }
}
