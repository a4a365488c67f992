//! Whether what a search minimises ranks sub-models as tasks do, beside proxies that cost
//! nothing: writes `samples.jsonl` and `table.md`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use atb_benches::{choice, write_text};
use atb_files::{Appender, JsonLines};
use atb_measurements::MeasurementFile;
use atb_pipeline::{FitnessConfig, HeldOutConfig, Loss, Weights, steps};
use atb_predictor::{FitSettings, Metrics, Observations, Predictor};
use atb_search::Fitness;
use atb_space::{Architecture, Cost, Space};
use atb_superplm::extract;
use atb_tasks::{EvaluateSettings, Model, Split, Task, evaluate};
use clap::Parser;
use serde::{Deserialize, Serialize};

/// Scores sub-models of a SuperPLM, all of about the same latency, on tasks of sentence embeddings,
/// and says how well losses and proxies order them. Stopped and started again, it continues.
#[derive(Parser)]
struct Arguments {
    /// Folder of GLUE.
    #[arg(long)]
    data: PathBuf,
    /// Text for the losses besides the built-in one, one paragraph a line.
    #[arg(long)]
    held_out: Option<PathBuf>,
    /// The SuperPLM, a model folder or `auto`.
    #[arg(long, default_value = "auto")]
    superplm: String,
    /// Measurements that latencies are predicted from.
    #[arg(long, default_value = "benches/predictors/kd/designed.jsonl")]
    measurements: PathBuf,
    /// Architectures whose latencies are the budgets.
    #[arg(long, num_args = 1.., default_values = ["4-264-1056-12-264", "4-192-768-12-192"])]
    budgets: Vec<Architecture>,
    /// How far off a budget architectures may be.
    #[arg(long, default_value_t = 0.015)]
    tolerance: f64,
    /// Number of architectures a budget.
    #[arg(long, default_value_t = 16)]
    count: usize,
    /// Seed of the choice.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the results go.
    #[arg(long, default_value = "benches/ranking-by-task")]
    folder: PathBuf,
}

/// The tasks, all of them of embeddings as they are, without fine-tuning.
const TASKS: [&str; 2] = ["STS-B-similarity", "QNLI-retrieval"];
const PARAGRAPHS: usize = 96;

/// Version of the schema of `samples.jsonl`.
const SCHEMA: u32 = 1;

/// The first line of `samples.jsonl`.
#[derive(PartialEq, Serialize, Deserialize)]
struct Header {
    schema: u32,
    /// Where the SuperPLM's weights come from.
    superplm: String,
}

/// One architecture's scores and what is to predict them.
#[derive(Serialize, Deserialize)]
struct Sample {
    budget: String,
    arch: String,
    latency_ms: f64,
    /// By task, between 0 and 100.
    scores: Vec<f64>,
    /// By name; the lower, the better.
    predictors: Vec<(String, f64)>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let weights = Weights::load(&arguments.superplm)?;
    let plm = &weights.plm;
    let measured = Observations::from_file(&MeasurementFile::read(&arguments.measurements)?)?;
    let predictor = Predictor::fit(&measured, &Space::paper_kd(), &FitSettings::default())?;
    let space = Space::paper_kd().within(plm.architecture())?;
    let tasks: Vec<(Task, Split)> = TASKS
        .iter()
        .map(|name| {
            let task = Task::find(name)?;
            let split = task.read_split(Some(&arguments.data), "dev")?;
            Ok((task, split))
        })
        .collect::<Result<_>>()?;

    let mut configs = Vec::new();
    for (of, teacher) in
        [("teacher at hand", Some("auto".to_owned())), ("no teacher at hand", None)]
    {
        for loss in [Loss::Sentence, Loss::Kd] {
            for text in [None].into_iter().chain(arguments.held_out.clone().map(Some)) {
                let name = format!(
                    "`{}`, {of}, {} text",
                    loss.name(),
                    if text.is_some() { "longer" } else { "built-in" }
                );
                let paragraphs =
                    HeldOutConfig { text, paragraphs: PARAGRAPHS, ..HeldOutConfig::default() };
                let config = FitnessConfig {
                    teacher: teacher.clone(),
                    ..FitnessConfig::new(loss, paragraphs)
                };
                configs.push((name, config));
            }
        }
    }
    let losses: Vec<(String, Box<dyn Fitness + '_>)> = configs
        .into_iter()
        .map(|(name, config)| Ok((name, steps::loss_on_text(&config, plm)?)))
        .collect::<Result<_>>()?;

    fs_err::create_dir_all(&arguments.folder)?;
    let header = Header { schema: SCHEMA, superplm: plm.source().to_owned() };
    let (mut samples, mut file) = open(&arguments.folder.join("samples.jsonl"), &header)?;
    for budget in &arguments.budgets {
        let chosen = choice::at_latency(
            &space,
            &predictor,
            predictor.value(budget),
            arguments.tolerance,
            arguments.count,
            arguments.seed,
        )?;
        for arch in chosen {
            let known =
                |sample: &Sample| (&sample.budget, &sample.arch) == (&budget.id(), &arch.id());
            if samples.iter().any(known) {
                continue;
            }
            let folder = tempfile::tempdir()?;
            let model = folder.path().join("model");
            extract(plm, &arch, &model)?;
            let model = Model::open(&model.display().to_string())?;
            let mut scores = Vec::new();
            for (task, split) in &tasks {
                let settings = EvaluateSettings { resamples: 0, ..EvaluateSettings::default() };
                let evaluation = evaluate(&model, task, split, None, &settings)?;
                let value = evaluation.scores[0].value.context("a constant embedding")?;
                scores.push(100.0 * value);
            }
            let mut predictors = Vec::new();
            for (name, loss) in &losses {
                let value = loss.evaluate(&arch).map_err(|error| anyhow::anyhow!("{error}"))?;
                predictors.push((name.clone(), value));
            }
            let proxies = [
                ("hidden size", arch.hidden()),
                ("layers", arch.num_layers()),
                ("parameters of the encoder", Cost::encoder_parameters(&arch) as usize),
            ];
            predictors.extend(proxies.map(|(name, value)| (name.to_owned(), -(value as f64))));
            eprintln!("{budget} {arch}: {scores:?} {predictors:?}");
            let sample = Sample {
                budget: budget.id(),
                arch: arch.id(),
                latency_ms: predictor.value(&arch),
                scores,
                predictors,
            };
            file.append(&sample)?;
            samples.push(sample);
        }
    }
    write(&arguments, &samples)
}

/// The samples of an earlier run with the same SuperPLM, and the file to add others to.
fn open(path: &Path, header: &Header) -> Result<(Vec<Sample>, Appender)> {
    let file = JsonLines::read_or_empty(path)?;
    if !file.is_empty() {
        let found: Header = file.header(SCHEMA, "a header of samples")?;
        ensure!(
            found == *header,
            "{}: its samples are of the SuperPLM {}; hint: another --folder",
            path.display(),
            found.superplm
        );
    }
    let samples = file.lines().map(|line| line.parse("a sample")).collect::<Result<_, _>>()?;
    Ok((samples, file.appender(header)?))
}

fn write(arguments: &Arguments, samples: &[Sample]) -> Result<()> {
    let mut text = format!(
        "# What orders sub-models as tasks do\n\nFor each budget {} architectures within {:.1} % of \
         its predicted latency, as many of every depth that has any, drawn with seed {}, cut out of \
         the SuperPLM as they are. Kendall tau with the scores of {}; 1 is the same order, 0 none.\n\n\
         | predictor |",
        arguments.count,
        100.0 * arguments.tolerance,
        arguments.seed,
        TASKS.join(" and "),
    );
    let columns: Vec<(String, usize)> = arguments
        .budgets
        .iter()
        .flat_map(|budget| (0..TASKS.len()).map(move |task| (budget.id(), task)))
        .collect();
    for (budget, task) in &columns {
        let _ = write!(text, " {budget}: {} |", TASKS[*task]);
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(columns.len()));
    let names = samples.first().map(|sample| sample.predictors.iter().map(|(name, _)| name));
    for (index, name) in names.into_iter().flatten().enumerate() {
        let _ = write!(text, "| {name} |");
        for (budget, task) in &columns {
            let of = || samples.iter().filter(|sample| sample.budget == *budget);
            let predicted: Vec<f64> = of().map(|sample| -sample.predictors[index].1).collect();
            let scores: Vec<f64> = of().map(|sample| sample.scores[*task]).collect();
            let tau = Metrics::of(&predicted, &scores).context("too few to rank")?.tau;
            let _ = write!(text, " {tau:.2} |");
        }
        text.push('\n');
    }
    text.push_str("\n| budget | architecture | predicted |");
    for task in TASKS {
        let _ = write!(text, " {task} |");
    }
    let _ = writeln!(text, "\n|---|---|---:|{}", "---:|".repeat(TASKS.len()));
    for Sample { budget, arch, latency_ms, scores, .. } in samples {
        let scores: Vec<String> = scores.iter().map(|score| format!("{score:.1}")).collect();
        let _ =
            writeln!(text, "| {budget} | {arch} | {latency_ms:.2} ms | {} |", scores.join(" | "));
    }
    print!("{text}");
    write_text(&arguments.folder.join("table.md"), &text)
}
