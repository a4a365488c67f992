//! Fine-tuning a model for a task: from its examples to a model folder with its scores.

mod config;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atb_checkpoint::NewFolder;
use atb_files::{Lock, folder_of};
use atb_interface::Head;
use atb_ranks::Ranks;
use atb_superplm::{
    FinetuneSettings, Finetuning, PlmError, Progress, Row, SuperPlm, Target, TaskHead, TaskTraining,
};
use atb_tasks::{
    EvaluateSettings, Evaluation, Kind, Metric, Model, Split, Task, TaskError, TrainingTarget,
    evaluate, training_examples,
};
use fs_err as fs;
use schemars::JsonSchema;
use serde::Serialize;

pub use config::FinetuneConfig;

use crate::{PipelineError, Reporter, Weights};

/// Version of the schema of [`FinetuneReport`].
const SCHEMA: u32 = 1;
/// Its file in the model folder.
const REPORT: &str = "finetune.json";
/// The losses and scores in the model folder.
const METRICS: &str = "metrics.jsonl";
/// Where the examples that are held out are drawn from: the same for every seed, so that the
/// models are chosen by the same.
const DIVISION_SEED: u64 = 0;
/// The label that Hugging Face gives to a head of one number.
const NUMBER: &str = "LABEL_0";

/// What a fine-tuning has come to, as it is written to `finetune.json`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FinetuneReport {
    /// Version of the schema.
    pub schema: u32,
    /// The task's name.
    pub task: String,
    /// What the model was made from: the weights' source.
    pub source: String,
    /// Its architecture.
    pub architecture: String,
    /// The teacher, if there was one.
    pub teacher: Option<String>,
    /// Examples that it was trained on; of questions the windows over their texts.
    pub examples: usize,
    /// Examples that the best epoch was chosen by.
    pub held_out: usize,
    /// The metric that it was chosen by.
    #[schemars(with = "String")]
    pub metric: Metric,
    /// How the training went.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub training: FinetuneSettings,
    /// How texts are cut, and how the scores were taken.
    pub evaluation: EvaluateSettings,
    /// What each seed came to.
    pub seeds: Vec<OfSeed>,
    /// The seed whose model it is.
    pub seed: u64,
}

/// What the training with one seed came to.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OfSeed {
    /// The seed.
    pub seed: u64,
    /// The score of each epoch's model on the examples that are held out.
    pub epochs: Vec<Option<f64>>,
    /// The epoch whose model was kept, from 1.
    pub best_epoch: u64,
    /// The kept model's score on the examples that are held out.
    pub held_out: Option<f64>,
    /// The kept model's scores on the splits that models are compared on.
    pub scores: Vec<Evaluation>,
}

/// Fine-tunes what `config` says, or goes on with it, and gives its scores.
///
/// Until it is done everything lies in a folder beside the output of the same name with
/// `.partial`; then the model folder appears whole.
///
/// All `ranks` of a job call this with the same configuration and see the same folders; only rank 0
/// writes to them and scores models, and its report counts.
///
/// # Errors
/// [`PipelineError`]; the same call goes on from the end of the last epoch, with any number of
/// ranks.
pub fn finetune(
    config: &FinetuneConfig,
    ranks: &Ranks,
    reporter: &mut dyn Reporter,
) -> Result<FinetuneReport, PipelineError> {
    for (key, value, hint) in [
        ("task", &config.task, "atb finetune MODEL --task SST-2 --data glue"),
        ("model", &config.model, "atb finetune MODEL --task SST-2 --data glue"),
    ] {
        if value.is_empty() {
            let (value, expected) = ("empty".to_owned(), "a name");
            return Err(PipelineError::Setting { key, value, expected, hint: Some(hint) });
        }
    }
    check_free(&config.output)?;
    let task = Task::find(&config.task)?;
    reporter.step("data", &task.name);
    let data = Data::read(config, &task, reporter)?;
    reporter.result(&format!(
        "{} examples to train on, {} held out",
        data.train.len(),
        data.held_out.len()
    ));
    let start = start(config, &task)?;
    reporter.step("model", &format!("{} of {}", start.architecture(), config.model));
    let mut _lock = None;
    if ranks.is_first() {
        fs::create_dir_all(folder_of(&config.output))?;
        _lock = Some(Lock::of_file(&config.output)?);
    }
    // Another process may have finished it meanwhile.
    NewFolder::check_free(&config.output).map_err(PlmError::from)?;
    let rows = data.rows(config, &task, &start, reporter)?;
    if config.model == "auto" && rows.iter().any(|row| row.types.contains(&1)) {
        reporter.warn(
            "the built-in SuperPLM has only ever seen texts one by one, and learns tasks of two \
             texts slowly; start from `teacher` with --arch of the same widths, or from a model \
             that was trained on longer text (docs/tasks.md)",
        );
    }
    let rows = rows.into();
    let partial = partial(&config.output);
    let run = Run { config, task: &task, data: &data, rows, partial, ranks };

    let (source, architecture) = (start.source().to_owned(), start.architecture().id());
    let (mut seeds, mut folders, mut start) = (Vec::new(), Vec::new(), Some(start));
    for seed in &config.seeds {
        let start = match start.take() {
            Some(start) => start,
            None => self::start(config, &task)?,
        };
        let (of_seed, folder) = run.of_seed(*seed, start, reporter)?;
        seeds.push(of_seed);
        folders.push(folder);
    }
    let value = |of: &OfSeed| of.held_out.unwrap_or(f64::NEG_INFINITY);
    // Of equal ones the first.
    let best =
        (0..seeds.len()).rev().max_by(|a, b| value(&seeds[*a]).total_cmp(&value(&seeds[*b])));
    let best = best.unwrap_or(0);
    let report = FinetuneReport {
        schema: SCHEMA,
        task: task.name.clone(),
        source,
        architecture,
        teacher: config.teacher.clone(),
        examples: run.rows.len(),
        held_out: data.held_out.len(),
        metric: task.metrics[0],
        training: config.training,
        evaluation: config.evaluation,
        seed: config.seeds[best],
        seeds,
    };
    if !ranks.is_first() {
        // Until the model is there.
        ranks.barrier();
        return Ok(report);
    }
    let Folders { model, metrics } = &folders[best];
    fs::copy(metrics, model.join(METRICS))?;
    atb_files::write_json(&model.join(REPORT), &report)?;
    fs::rename(model, &config.output)?;
    fs::remove_dir_all(&run.partial)?;
    ranks.barrier();
    Ok(report)
}

/// Checks that `output` is not there or empty. If it is a finished fine-tuning, what that has left
/// of its working folder goes.
fn check_free(output: &Path) -> Result<(), PipelineError> {
    let free = NewFolder::check_free(output);
    if free.is_err() && output.join(REPORT).is_file() {
        // It ended between its last two steps.
        let _lock = Lock::of_file(output)?;
        let partial = partial(output);
        if partial.is_dir() {
            fs::remove_dir_all(partial)?;
        }
    }
    Ok(free.map_err(PlmError::from)?)
}

/// Where a fine-tuning works until it is done.
fn partial(output: &Path) -> PathBuf {
    let mut name = output.file_name().map_or_else(|| OsString::from("model"), OsString::from);
    name.push(".partial");
    output.with_file_name(name)
}

/// The model to start from, which no other task's is.
fn start(config: &FinetuneConfig, task: &Task) -> Result<SuperPlm, PipelineError> {
    let plm = Weights::load(&config.model)?.plm;
    if let Some(trained) = plm.config().other_task(&task.name) {
        return Err(TaskError::Finetuned {
            model: config.model.clone(),
            trained: trained.to_owned(),
            task: task.name.clone(),
        }
        .into());
    }
    match &config.arch {
        Some(arch) if arch != plm.architecture() => Ok(plm.part(arch)?),
        _ => Ok(plm),
    }
}

/// The examples of a task.
struct Data {
    train: Split,
    held_out: Split,
    /// What models are compared on.
    compared: Vec<Split>,
}

impl Data {
    fn read(
        config: &FinetuneConfig,
        task: &Task,
        reporter: &mut dyn Reporter,
    ) -> Result<Self, PipelineError> {
        if task.kind.is_of_embeddings() {
            return Err(TaskError::NothingToTrain { task: task.name.clone() }.into());
        }
        let folder = config.data.as_deref();
        let all = match &config.train_file {
            Some(file) => task.read_file(folder, "train", file)?,
            None => task.read_split(folder, "train")?,
        };
        let mut warn_of_left_out = |split: &Split| {
            if split.left_out > 0 {
                let (path, count) = (split.path.display(), split.left_out);
                reporter.warn(&format!("{path}: {count} rows that end early are left out"));
            }
        };
        warn_of_left_out(&all);
        let mut compared = Vec::new();
        for name in task.evaluated() {
            // One of several files may be missing.
            if task.split_file(folder, name).is_ok() {
                let split = task.read_split(folder, name)?;
                warn_of_left_out(&split);
                compared.push(split);
            }
        }
        for split in &compared {
            let leaks = task.check_leaks(&all, split)?;
            if leaks > 0 {
                reporter.warn(&format!(
                    "{leaks} of the {} examples of {}'s `{}` are in `train` as well",
                    split.len(),
                    task.name,
                    split.name
                ));
            }
        }
        if compared.is_empty() {
            reporter.warn("there is no split to score the model on but the examples held out");
        }
        let (train, held_out) =
            all.divided(config.held_out, config.max_train_samples, DIVISION_SEED)?;
        Ok(Self { train, held_out, compared })
    }

    /// The examples to train on as token ids, with the teacher's logits if there is one.
    fn rows(
        &self,
        config: &FinetuneConfig,
        task: &Task,
        start: &SuperPlm,
        reporter: &mut dyn Reporter,
    ) -> Result<Vec<Row>, PipelineError> {
        let teacher = config.teacher.as_deref().map(Model::open).transpose()?;
        if let Some(teacher) = &teacher {
            reporter.step("teacher", teacher.name());
        }
        let longest = start.config().max_position_embeddings;
        let settings = EvaluateSettings {
            sequence: config.evaluation.sequence.min(longest),
            span_sequence: config.evaluation.span_sequence.min(longest),
            ..config.evaluation
        };
        let tokenizer = start.tokenizer();
        let examples =
            training_examples(task, &self.train, tokenizer, teacher.as_ref(), &settings)?;
        let row = |example: atb_tasks::TrainingExample| Row {
            ids: example.ids,
            types: example.types,
            target: match example.target {
                TrainingTarget::Label(label) => Target::Label(label),
                TrainingTarget::Score(score) => Target::Score(score as f32),
                TrainingTarget::Span(start, end) => Target::Span { start, end },
            },
            teacher: example.teacher,
        };
        Ok(examples.into_iter().map(row).collect())
    }
}

/// What the trainings of all seeds share.
struct Run<'a> {
    config: &'a FinetuneConfig,
    task: &'a Task,
    data: &'a Data,
    rows: Arc<[Row]>,
    partial: PathBuf,
    ranks: &'a Ranks,
}

/// What a training left.
struct Folders {
    /// The best epoch's model.
    model: PathBuf,
    metrics: PathBuf,
}

impl Run<'_> {
    fn head(&self) -> Result<TaskHead, PipelineError> {
        let (name, labels) = match self.task.kind {
            Kind::Span => ("question-answering", Vec::new()),
            Kind::Regression => ("sequence-classification", vec![NUMBER.to_owned()]),
            Kind::Classification | Kind::Similarity | Kind::Retrieval => {
                ("sequence-classification", self.data.train.labels.clone())
            }
        };
        let task = self.task.name.clone();
        match Head::named(name) {
            Some(head) => Ok(TaskHead { task, head, labels }),
            None => Err(TaskError::NothingToTrain { task }.into()),
        }
    }

    /// Trains with one seed.
    fn of_seed(
        &self,
        seed: u64,
        start: SuperPlm,
        reporter: &mut dyn Reporter,
    ) -> Result<(OfSeed, Folders), PipelineError> {
        let settings = self.config.training;
        let head = self.head()?;
        let folder = self.partial.join(format!("seed-{seed}"));
        let training = TaskTraining { start, head, rows: self.rows.clone(), seed, settings };
        let mut finetuning = Finetuning::begin_across(self.ranks, training, &folder)?;
        reporter.step(
            "train",
            &format!("{} epochs of {} examples, seed {seed}", settings.epochs, self.rows.len()),
        );
        let metric = self.task.metrics[0];
        loop {
            let mut begun = false;
            let trained = finetuning.epoch(|progress| {
                if !begun {
                    reporter.begin(progress.steps, progress.steps_total);
                    begun = true;
                }
                show(progress, reporter);
            });
            reporter.end();
            if !trained? {
                break;
            }
            let score = self.held_out_score(finetuning.model())?;
            let kept = finetuning.judge(&metric.to_string(), score)?;
            let of_score = score.map_or("undefined".to_owned(), |v| format!("{:.2}", 100.0 * v));
            reporter.result(&format!(
                "epoch {} of {}: {metric} {of_score} on {} held-out examples{}",
                finetuning.epochs(),
                settings.epochs,
                self.data.held_out.len(),
                if kept { ", the best so far" } else { "" }
            ));
        }
        let Some((model, best)) = finetuning.best() else {
            return Err(PipelineError::NoFigure {
                figure: metric.to_string(),
                reason: "no epoch was made".to_owned(),
            });
        };
        let mut scores = Vec::new();
        for split in self.data.compared.iter().filter(|_| self.ranks.is_first()) {
            reporter.step("evaluate", &format!("{} {}", self.task.name, split.name));
            scores.push(self.evaluate(&model, split)?);
        }
        let of_seed = OfSeed {
            seed,
            epochs: finetuning.scores().map(|score| score.score).collect(),
            best_epoch: best.epoch,
            held_out: best.score,
            scores,
        };
        Ok((of_seed, Folders { model, metrics: folder.join(METRICS) }))
    }

    /// The score of a model on the examples that are held out, which rank 0 takes.
    fn held_out_score(&self, model: &Path) -> Result<Option<f64>, PipelineError> {
        let score = match self.ranks.is_first() {
            true => {
                let evaluation = self.evaluate(model, &self.data.held_out)?;
                evaluation.scores.first().and_then(|score| score.value)
            }
            false => None,
        };
        let mut bits = score.unwrap_or(f64::NAN).to_bits().to_le_bytes().to_vec();
        self.ranks.broadcast(&mut bits);
        let bits = bits.first_chunk().map_or(f64::NAN, |bits| f64::from_le_bytes(*bits));
        Ok((!bits.is_nan()).then_some(bits))
    }

    fn evaluate(&self, model: &Path, split: &Split) -> Result<Evaluation, PipelineError> {
        let name = self.config.output.display().to_string();
        let model = Model::open(&model.display().to_string())?.named(&name);
        Ok(evaluate(&model, self.task, split, None, &self.config.evaluation)?)
    }
}

/// Shows how far a training is.
fn show(progress: &Progress, reporter: &mut dyn Reporter) {
    let Progress { loss, tokens_per_second, .. } = progress;
    let seconds = progress.remaining.as_secs();
    let left = if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) };
    let message = format!("loss {loss:.4}, {tokens_per_second:.0} tokens/s, {left} left");
    reporter.reach(progress.steps, &message);
}
