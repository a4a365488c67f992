//! Fine-tuning epoch after epoch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use atb_files::{digest, digest_of_parts};
use atb_interface::{Reads, Tokens};
use atb_ranks::Ranks;
use atb_settings::Checked;
use candle_core::{Device, Tensor};
use fs_err as fs;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::batches::batches;
use super::loss;
use super::row::{Row, Target, batch_of};
use super::settings::FinetuneSettings;
use crate::bert::{self, Batch, Pass};
use crate::ops::{Dropout, Engine};
use crate::random::{Purpose, generator};
use crate::task_head::TaskHead;
use crate::train::checkpoint::{self, State};
use crate::train::{Metrics, MetricsLine, Progress, Schedule, Term, TrainError, Variables};
use crate::{PlmError, SuperPlm, extract};

/// The file of losses and scores in a fine-tuning's folder.
const METRICS: &str = "metrics.jsonl";
/// What the names of the best model's folders begin with; the step follows.
const BEST: &str = "best-";
/// The place of the dropout before the head; those of the encoder are small numbers.
const HEAD_PLACE: u64 = 1 << 32;

/// Everything that a fine-tuning takes.
#[derive(Debug)]
pub struct TaskTraining {
    /// The model that it starts from.
    pub start: SuperPlm,
    /// What it is to end in.
    pub head: TaskHead,
    /// The examples that it is trained on, all of one kind; at least one.
    pub rows: Arc<[Row]>,
    /// What all randomness depends on.
    pub seed: u64,
    /// Everything else.
    pub settings: FinetuneSettings,
}

/// What the model of an epoch's end scored on the examples that are held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOutScore {
    /// Epochs made.
    pub epoch: u64,
    /// The score; none where the metric is not defined.
    pub score: Option<f64>,
}

impl HeldOutScore {
    /// Whether it is above another; any score is above none.
    fn is_above(&self, other: &Self) -> bool {
        let value = |of: &Self| of.score.unwrap_or(f64::NEG_INFINITY);
        value(self) > value(other)
    }
}

/// A fine-tuning at the end of an epoch.
///
/// Its folder holds `checkpoints/`, `metrics.jsonl` ([`MetricsLine`]) and the best model so far.
/// Ending the process at any moment loses at most the epoch that it is in: [`Finetuning::begin`]
/// goes on from the last one's end and makes the same steps as if it had never stopped.
///
/// ```
/// use atb_interface::Head;
/// use atb_superplm::*;
/// use atb_text::Tokenizer;
///
/// let tokenizer = Tokenizer::bert_uncased()?;
/// let start = SuperPlm::random("1-16-32-2-16".parse()?, tokenizer, 7)?;
/// let row = |word, label| Row {
///     ids: vec![101, word, 102],
///     types: vec![0; 3],
///     target: Target::Label(label),
///     teacher: None,
/// };
/// let labels = vec!["bad".to_owned(), "good".to_owned()];
/// let head = Head::named("sequence-classification").expect("is one");
/// let training = TaskTraining {
///     start,
///     head: TaskHead { task: "mood".to_owned(), head, labels },
///     rows: [row(2919, 0), row(2204, 1)].into(),
///     seed: 0,
///     settings: FinetuneSettings { epochs: 2, ..FinetuneSettings::default() },
/// };
///
/// let folder = tempfile::tempdir()?;
/// let mut finetuning = Finetuning::begin(training, folder.path())?;
/// while finetuning.epoch(|_| {})? {
///     let model = finetuning.model();
///     # let scored = SuperPlm::load(model)?;
///     // ... is scored on the examples that are held out:
///     finetuning.judge("accuracy", Some(0.5))?;
/// }
/// let (best, _) = finetuning.best().expect("an epoch was judged");
/// assert_eq!(SuperPlm::load(&best)?.config().task.as_deref(), Some("mood"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Finetuning {
    /// On the CPU; up to date after [`Variables::write_to`].
    plm: SuperPlm,
    variables: Variables,
    head: TaskHead,
    rows: Arc<[Row]>,
    seed: u64,
    settings: FinetuneSettings,
    schedule: Schedule,
    state: State,
    metrics: Metrics,
    folder: PathBuf,
    checkpoint: Option<PathBuf>,
    ranks: Ranks,
}

/// What a step came to.
struct Step {
    loss: f64,
    learning_rate: f64,
    tokens: u64,
}

impl Finetuning {
    /// Begins a fine-tuning in `folder`, or continues the one that `folder` has a checkpoint of.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`], [`TrainError::Examples`] for rows that the model or the head
    /// does not take, [`TrainError::NoCuda`] and [`TrainError::Accelerator`],
    /// [`TrainError::OtherTraining`] and [`TrainError::Damaged`] for a checkpoint that cannot be
    /// continued.
    pub fn begin(training: TaskTraining, folder: &Path) -> Result<Self, TrainError> {
        Self::begin_across(&Ranks::alone(), training, folder)
    }

    /// [`Finetuning::begin`] by all ranks of a job, each of which calls this, and all that follows,
    /// with the same arguments and sees the same `folder`. Every rank takes its part of each
    /// batch; only rank 0 writes. A checkpoint is continued by any number of ranks.
    ///
    /// # Errors
    /// As [`Finetuning::begin`], and [`TrainError::OtherRank`]. Whoever gets an error ends the
    /// job: the other ranks wait for this one.
    pub fn begin_across(
        ranks: &Ranks,
        training: TaskTraining,
        folder: &Path,
    ) -> Result<Self, TrainError> {
        training.settings.checked()?;
        let engine = training.settings.accelerator.engine()?;
        Self::begin_on(&engine, ranks, training, folder)
    }

    /// [`Finetuning::begin_across`] on the device of `engine` and with the form of the operations that
    /// it has.
    pub(super) fn begin_on(
        engine: &Engine,
        ranks: &Ranks,
        training: TaskTraining,
        folder: &Path,
    ) -> Result<Self, TrainError> {
        check_rows(&training)?;
        let identity = identity(&training)?;
        let TaskTraining { start, head, rows, seed, settings } = training;
        fs::create_dir_all(folder)?;
        let saved = checkpoint::list(folder).pop();
        checkpoint::check_ranks(ranks, &identity, saved.as_ref())?;
        let (mut plm, state) = match &saved {
            Some(saved) => {
                let state = checkpoint::read_state(saved, &identity)?;
                (SuperPlm::load(&saved.folder)?.with_source(start.source()), state)
            }
            None => {
                let mut plm = start;
                if plm.end_in(&head, &mut generator(seed, Purpose::Parameters, 0))? {
                    begin_at_the_mean(&mut plm, &head, &rows)?;
                }
                (plm, State::new(identity))
            }
        };
        let mut variables = Variables::of(&mut plm, engine)?;
        if let Some(saved) = &saved {
            checkpoint::restore(saved, &mut variables)?;
        }
        let steps = settings.epochs * rows.len().div_ceil(settings.batch_size) as u64;
        let checkpoint = saved.map(|saved| saved.folder);
        ranks.say_at_end(checkpoint::last_good(ranks, checkpoint.as_deref()));
        Ok(Self {
            metrics: Metrics::open(ranks, &folder.join(METRICS), state.steps)?,
            schedule: settings.schedule(steps),
            ranks: ranks.clone(),
            checkpoint,
            folder: folder.to_owned(),
            plm,
            variables,
            head,
            rows,
            seed,
            settings,
            state,
        })
    }

    /// Epochs made.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.state.steps / self.steps_of_epoch()
    }

    /// Trains for an epoch and leaves its model in [`Finetuning::model`]; an epoch that was
    /// made before, but not judged, is not made again. `false` if all epochs are made and judged.
    ///
    /// `observe` is called after every step.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], [`TrainError::Io`].
    pub fn epoch(&mut self, mut observe: impl FnMut(&Progress)) -> Result<bool, TrainError> {
        if self.checkpoint.is_some() && self.scores().all(|score| score.epoch != self.epochs()) {
            return Ok(true);
        }
        if self.state.steps >= self.schedule.steps {
            return Ok(false);
        }
        let (began, first) = (Instant::now(), self.state.steps);
        let lengths: Vec<usize> = self.rows.iter().map(|row| row.ids.len()).collect();
        let (mut losses, mut tokens) = (0.0, 0);
        for batch in batches(&lengths, self.settings.batch_size, self.seed, self.epochs()) {
            // On one of rayon's own threads: handing each operation over to them costs more than
            // the smaller ones take.
            let step = rayon::scope(|_| self.step(&batch))?;
            tokens += step.tokens;
            losses += step.loss;
            let (steps, elapsed) = (self.state.steps, began.elapsed());
            let (made, left) = ((steps - first) as f64, (self.schedule.steps - steps) as f64);
            observe(&Progress {
                steps,
                steps_total: self.schedule.steps,
                loss: losses / made,
                learning_rate: step.learning_rate,
                tokens_per_second: tokens as f64 / elapsed.as_secs_f64(),
                remaining: elapsed.div_f64(made).mul_f64(left),
                validation: None,
            });
        }
        self.variables.write_to(&mut self.plm)?;
        checkpoint::check_alike(&self.ranks, &self.variables, self.state.steps)?;
        if self.ranks.is_first() {
            checkpoint::save(&self.folder, &self.plm, &self.variables, &self.state)?;
        }
        self.ranks.barrier();
        let saved = checkpoint::folder(&self.folder, self.state.steps);
        self.ranks.say_at_end(checkpoint::last_good(&self.ranks, Some(&saved)));
        self.checkpoint = Some(saved);
        Ok(true)
    }

    /// The folder of the last epoch's model; the fine-tuning's own before the first.
    #[must_use]
    pub fn model(&self) -> &Path {
        self.checkpoint.as_deref().unwrap_or(&self.folder)
    }

    /// Notes what the last epoch's model scored on the examples that are held out, and keeps it
    /// if no earlier one scored as much. `true` if it is kept.
    ///
    /// # Errors
    /// [`TrainError::Io`] and [`TrainError::Model`] if it cannot be written.
    pub fn judge(&mut self, metric: &str, score: Option<f64>) -> Result<bool, TrainError> {
        let judged = HeldOutScore { epoch: self.epochs(), score };
        let (steps, best) = (self.state.steps, self.best_score());
        let is_best = best.is_none_or(|best| judged.is_above(&best));
        let (is_first, metric) = (self.ranks.is_first(), metric.to_owned());
        if is_best && is_first {
            let folder = self.best_folder(steps);
            if !folder.is_dir() {
                extract(&self.plm, self.plm.architecture(), &folder)?;
            }
        }
        self.metrics.append(&MetricsLine::HeldOut { step: steps, metric, score })?;
        if is_best
            && is_first
            && let Some(former) = best
        {
            let former = self.best_folder(former.epoch * self.steps_of_epoch());
            if former.is_dir() {
                fs::remove_dir_all(former)?;
            }
        }
        Ok(is_best)
    }

    /// The scores of all epochs that were judged.
    pub fn scores(&self) -> impl Iterator<Item = HeldOutScore> {
        let steps = self.steps_of_epoch();
        let scores = self.metrics.held_out.iter();
        scores.map(move |(step, score)| HeldOutScore { epoch: step / steps, score: *score })
    }

    /// The folder of the best model and its score; of equal ones the first.
    #[must_use]
    pub fn best(&self) -> Option<(PathBuf, HeldOutScore)> {
        let best = self.best_score()?;
        Some((self.best_folder(best.epoch * self.steps_of_epoch()), best))
    }

    fn best_score(&self) -> Option<HeldOutScore> {
        self.scores().reduce(|best, next| if next.is_above(&best) { next } else { best })
    }

    fn best_folder(&self, steps: u64) -> PathBuf {
        self.folder.join(format!("{BEST}{steps:08}"))
    }

    fn steps_of_epoch(&self) -> u64 {
        self.schedule.steps / self.settings.epochs
    }

    /// Makes one optimizer step.
    fn step(&mut self, batch: &[usize]) -> Result<Step, TrainError> {
        let began = Instant::now();
        let step = self.state.steps;
        let rows: Vec<&Row> = batch.iter().map(|row| &self.rows[*row]).collect();
        // The names of the terms, which a rank without a part of a small batch needs too.
        let names = loss::TERMS.into_iter().take(loss::count_of_terms(&rows));
        let mut values: BTreeMap<String, Vec<f64>> =
            names.map(|name| (name.to_owned(), vec![0.0])).collect();
        if !self.ranks.part(rows.len()).is_empty() {
            let terms =
                self.terms(&rows, Dropout::new(self.settings.dropout, self.seed).at(step))?;
            for Term { name, value } in &terms {
                values.insert((*name).to_owned(), vec![f64::from(value.to_scalar::<f32>()?)]);
            }
            self.variables.add_gradients(&Term::total(&terms)?.backward()?)?;
        }
        let exchange = self.variables.exchange(&self.ranks)?;
        values.values_mut().for_each(|values| self.ranks.sum_f64(values));
        let loss: f64 = values.values().flatten().sum();
        if !loss.is_finite() {
            return Err(self.diverged("loss", loss));
        }
        let learning_rate = self.schedule.learning_rate_at(step);
        let FinetuneSettings { weight_decay, max_grad_norm, .. } = self.settings;
        let gradient_norm =
            self.variables.optimize(step, learning_rate, weight_decay, max_grad_norm)?;
        if !gradient_norm.is_finite() {
            return Err(self.diverged("gradient norm", gradient_norm));
        }
        self.state.first_loss.get_or_insert(loss);
        self.state.steps += 1;
        let tokens = rows.iter().map(|row| row.ids.len() as u64).sum();
        if values.len() == 1 {
            values.clear();
        }
        self.metrics.append(&MetricsLine::Step {
            step,
            losses: vec![(self.plm.architecture().clone(), loss)],
            terms: values,
            learning_rate,
            gradient_norm,
            tokens,
            seconds: began.elapsed().as_secs_f64(),
            exchange,
        })?;
        Ok(Step { loss, learning_rate, tokens })
    }

    /// The terms of the loss of this rank's part of a batch.
    fn terms(&self, rows: &[&Row], dropout: Dropout) -> Result<Vec<Term>, PlmError> {
        let (engine, arch) = (self.variables.engine(), self.plm.architecture());
        let part = self.ranks.part(rows.len());
        let batch = batch_of(rows, self.plm.tokenizer().specials().padding).rows(part.clone());
        let (count, rows, dropout) = (rows.len(), &rows[part.clone()], dropout.of_rows(part));
        let batch = Batch::new(&batch, engine.device())?;
        let parameters = self.variables.whole_encoder()?;
        let layer_norm_eps = self.plm.config().layer_norm_eps;
        let first_only = self.head.head.tokens() == Tokens::First;
        let pass = Pass { layer_norm_eps, dropout, with_scores: false, first_only };
        let (hidden, _) = bert::encode(&parameters, arch, &batch, engine, pass)?;
        let Some(dense) = self.head.head.dense else {
            let problem = format!("the head {} has no layer to train", self.head.head.name);
            return Err(candle_core::Error::msg(problem).into());
        };
        let layer = self.variables.dense(&dense)?;
        let linear = |x: &Tensor| engine.linear(x, &layer.weight, &layer.bias);
        let logits = match (self.head.head.reads, &parameters.pooler) {
            (Reads::Pooled, Some(pooler)) => {
                let pooled = bert::pool(pooler, &hidden, engine)?;
                linear(&engine.dropout(&pooled, dropout.at(HEAD_PLACE))?)?
            }
            _ => {
                let (count, sequence, width) = hidden.dims3()?;
                let logits = linear(&hidden.reshape((count * sequence, width))?)?;
                logits.reshape((count, sequence, self.head.outputs()))?
            }
        };
        Ok(loss::terms(engine, &logits, rows, &batch.mask, &self.settings.distillation, count)?)
    }

    fn diverged(&self, what: &'static str, value: f64) -> TrainError {
        TrainError::Diverged {
            step: self.state.steps,
            what,
            arch: self.plm.architecture().id(),
            value,
            checkpoint: self.checkpoint.clone(),
        }
    }
}

/// What the steps depend on; a checkpoint is continued only if it is equal.
fn identity(training: &TaskTraining) -> Result<Value, TrainError> {
    let TaskTraining { start, head, rows, seed, settings } = training;
    let settings = serde_json::to_value(settings).map_err(std::io::Error::from)?;
    let parts: Vec<String> =
        rows.par_iter().map(|row| digest(format!("{row:?}").as_bytes())).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(json!({
        "settings": settings,
        "seed": seed,
        "task": head.task,
        "labels": head.labels,
        "architecture": start.architecture(),
        "start": start.source(),
        "examples": digest_of_parts(&parts),
    }))
}

/// Refuses rows that the model or the head does not take.
fn check_rows(training: &TaskTraining) -> Result<(), TrainError> {
    let TaskTraining { start, head, rows, .. } = training;
    let refuse = |problem: String| Err(TrainError::Examples(problem));
    let Some(first) = rows.first() else { return refuse("there are none".to_owned()) };
    let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    let limit = start.config().max_position_embeddings;
    if longest > limit {
        let what = "training data";
        return Err(TrainError::SequenceLength { what, found: longest, model: "model", limit });
    }
    let outputs = head.outputs();
    for (number, row) in rows.iter().enumerate() {
        start.check_batch(&batch_of(&[row], start.tokenizer().specials().padding))?;
        let length = row.ids.len();
        let problem = match row.target {
            _ if length == 0 => "has no token".to_owned(),
            target if std::mem::discriminant(&target) != std::mem::discriminant(&first.target) => {
                "is of another kind than the first".to_owned()
            }
            Target::Label(label) if label >= outputs => {
                format!("has label {label}, the head tells {outputs} apart")
            }
            Target::Score(score) if !score.is_finite() => format!("has the score {score}"),
            Target::Span { start, end } if start > end || end >= length => {
                format!("has an answer from token {start} to {end} of {length}")
            }
            _ => match &row.teacher {
                Some(logits) if logits.len() != teacher_logits(row, outputs) => {
                    format!("has {} of a teacher's logits", logits.len())
                }
                teacher if teacher.is_some() != first.teacher.is_some() => {
                    "has a teacher's logits, or lacks them, unlike the first".to_owned()
                }
                _ => continue,
            },
        };
        return refuse(format!("row {number} {problem}"));
    }
    Ok(())
}

/// How many of a teacher's logits a row has.
fn teacher_logits(row: &Row, outputs: usize) -> usize {
    match row.target {
        Target::Span { .. } => outputs * row.ids.len(),
        Target::Label(_) | Target::Score(_) => outputs,
    }
}

/// Lets a fresh head for scores begin at their mean, from which Adam's even steps would take
/// long to.
fn begin_at_the_mean(plm: &mut SuperPlm, head: &TaskHead, rows: &[Row]) -> Result<(), TrainError> {
    let score = |row: &Row| match row.target {
        Target::Score(score) => Some(f64::from(score)),
        Target::Label(_) | Target::Span { .. } => None,
    };
    let scores: Vec<f64> = rows.iter().filter_map(score).collect();
    let Some(bias) = head.head.dense.and_then(|dense| dense.bias()) else { return Ok(()) };
    if scores.is_empty() {
        return Ok(());
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    for (name, stored) in plm.stored_mut() {
        if *name == bias {
            stored.tensor = Tensor::new(&[mean as f32], &Device::Cpu)?;
        }
    }
    Ok(())
}
