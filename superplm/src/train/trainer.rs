//! The training loop.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atb_ranks::Ranks;
use atb_space::Architecture;
use atb_text::{Encoded, Specials};
use fs_err as fs;

use super::checkpoint::{self, State};
use super::metrics::Metrics;
use super::objective;
use super::variables::Variables;
use super::{MetricsLine, Objective, SubModels, TrainError, TrainSettings, Training};
use crate::data::Batches;
use crate::ops::Engine;
use crate::parameters::check_fit;
use crate::{SuperPlm, TeacherEmbeddings, extract};

/// A loss this many times the first step's has exploded.
const EXPLODED: f64 = 100.0;

/// How far a training is, after each step.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Steps made.
    pub steps: u64,
    /// Steps in all.
    pub steps_total: u64,
    /// Mean loss of the step's sub-models.
    pub loss: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// Tokens a second since this run began; the tokens of a batch count once, however many
    /// sub-models are trained on it.
    pub tokens_per_second: f64,
    /// Time that is left at this speed, or of the time limit.
    pub remaining: Duration,
    /// The panel's losses, if the step was followed by a validation.
    pub validation: Option<Vec<(Architecture, f64)>>,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All steps are made.
    Completed,
    /// The time limit is reached.
    TimeLimit,
    /// The observer asked for it.
    Asked,
}

/// What a training has come to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Steps made, those of earlier runs included.
    pub steps: u64,
    /// Why it ended.
    pub stopped: Stopped,
    /// The last checkpoint, a model folder.
    pub checkpoint: PathBuf,
    /// The trained model's folder, once all steps are made.
    pub model: Option<PathBuf>,
    /// The panel's losses on the held-out text.
    pub validation: Vec<(Architecture, f64)>,
}

/// Trains a model, or continues a training that `folder` has a checkpoint of.
///
/// Leaves in `folder`: `checkpoints/`, `metrics.jsonl` ([`MetricsLine`]) and, at the end,
/// the model folder `model/`. Ending the process at any moment loses at most the steps since
/// the last checkpoint. A continued training makes bit for bit the steps that one without
/// interruption makes, if the number of threads is the same and the accelerator is `cpu`.
///
/// On another accelerator than `cpu` the steps run there, by candle's operations; validations run
/// on the processor, on a copy of the weights, as does all that is done with the model later.
///
/// On the processor all operations share rayon's threads. What is left to candle's own
/// threads, the sums of gradients in its backward pass, waits by spinning: on a machine that
/// does other work at the same time, set `CANDLE_NUM_THREADS=1` in the environment.
///
/// `observe` is called after every step and may end the training, which then leaves a
/// checkpoint.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use atb_space::Space;
/// use atb_superplm::*;
/// use atb_text::Tokenizer;
///
/// let root = tempfile::tempdir()?;
/// let text = root.path().join("text.txt");
/// std::fs::write(&text, "Some text to train on.\n\nAnd a second document of it.\n")?;
///
/// let tokenizer = Tokenizer::bert_uncased()?;
/// let folder = root.path().join("data");
/// let data = prepare(&[text], &tokenizer, Layout::Packed, 8, &folder, |_| {})?;
/// let held_out = tokenizer.encode_batch(["Text to validate on."], 8)?;
/// let start = SuperPlm::random("2-16-32-2-16".parse()?, tokenizer, 7)?;
///
/// let arch = start.architecture().clone();
/// let settings = TrainSettings {
///     batch_size: 2,
///     ..TrainSettings::new(SubModels::Fixed(arch.clone()), vec![arch], 3, 7)
/// };
/// let training = Training { start, objective: Objective::masked_lm(), data, held_out, settings };
/// let outcome = train(training, &root.path().join("run"), |_| ControlFlow::Continue(()))?;
/// assert_eq!((outcome.steps, outcome.stopped), (3, Stopped::Completed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Before any step is made: [`TrainError::OutOfRange`], [`TrainError::Vocabulary`],
/// [`TrainError::SequenceLength`], [`TrainError::Teacher`], [`TrainError::Space`],
/// [`TrainError::NoCuda`] or [`TrainError::Accelerator`] for an accelerator that cannot be used, and
/// [`TrainError::OtherTraining`], [`TrainError::Damaged`] or [`TrainError::File`] for a
/// checkpoint that cannot
/// be continued. Later: [`TrainError::Diverged`], [`TrainError::Io`].
pub fn train(
    training: Training,
    folder: &Path,
    observe: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcome, TrainError> {
    train_across(&Ranks::alone(), training, folder, observe)
}

/// [`train`] by all ranks of a job, each of which calls this with the same arguments and sees the
/// same `folder`.
///
/// Every rank takes its part of each step's batch, whose size is that of all ranks together, and
/// trains the same sub-models on it; the gradients are added up before every rank makes the same
/// update. So the steps are those of one rank but for the order of additions, and a checkpoint is
/// continued by any number of ranks. Only rank 0 writes, and only what its observer says counts.
///
/// Losses that are means over tokens, pairs of tokens or texts are means over those of the whole
/// batch. The similarities of [`sentence`](crate::SentenceFitness) embeddings are between all texts
/// of the whole batch; embeddings are exchanged for that.
///
/// # Errors
/// As [`train`], [`TrainError::TooManyRanks`] for more ranks than sequences in a batch, and
/// [`TrainError::OtherRank`] for a rank that trains something else. Whoever gets an error
/// ends the job: the other ranks wait for this one.
pub fn train_across(
    ranks: &Ranks,
    training: Training,
    folder: &Path,
    observe: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcome, TrainError> {
    let engine = training.settings.accelerator.engine()?;
    train_on(&engine, ranks, training, folder, observe)
}

/// [`train_across`] on the device of `engine` and with the form of the operations that it has.
pub(super) fn train_on(
    engine: &Engine,
    ranks: &Ranks,
    training: Training,
    folder: &Path,
    mut observe: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcome, TrainError> {
    let began = Instant::now();
    let mut trainer = Trainer::new(engine, ranks.clone(), training, folder)?;
    let steps_total = trainer.settings.schedule.steps;
    let (first_step, mut tokens, mut stopped) = (trainer.state.steps, 0, Stopped::Completed);
    if trainer.metrics.validated.is_none() {
        trainer.validate()?;
    }
    while trainer.state.steps < steps_total {
        // On one of rayon's own threads: handing each operation over to them costs more than
        // the smaller ones take.
        let step = rayon::scope(|_| trainer.step())?;
        tokens += step.tokens;
        let steps = trainer.state.steps;
        let due = |every: u64| steps.is_multiple_of(every) || steps == steps_total;
        let validation =
            if due(trainer.settings.validate_every) { Some(trainer.validate()?) } else { None };
        if due(trainer.settings.checkpoint_every) {
            trainer.save()?;
        }
        let elapsed = began.elapsed();
        let of_steps =
            elapsed.div_f64((steps - first_step) as f64).mul_f64((steps_total - steps) as f64);
        let of_limit = trainer.settings.time_limit.map(|limit| limit.saturating_sub(elapsed));
        let progress = Progress {
            steps,
            steps_total,
            loss: step.loss,
            learning_rate: step.learning_rate,
            tokens_per_second: tokens as f64 / elapsed.as_secs_f64(),
            remaining: of_limit.map_or(of_steps, |limit| limit.min(of_steps)),
            validation,
        };
        if ranks.first_says(observe(&progress).is_break()) {
            stopped = Stopped::Asked;
            break;
        }
        let is_up = of_limit.is_some_and(|limit| limit.is_zero());
        if steps < steps_total && of_limit.is_some() && ranks.first_says(is_up) {
            stopped = Stopped::TimeLimit;
            break;
        }
    }
    if trainer.state.steps == steps_total {
        stopped = Stopped::Completed;
    }
    trainer.finish(stopped)
}

struct Trainer {
    /// On the CPU; up to date after [`Trainer::update_model`].
    plm: SuperPlm,
    variables: Variables,
    objective: Objective,
    /// The objective where the variables are, if that is not where `objective` is.
    on_device: Option<Objective>,
    specials: Specials,
    batches: Batches,
    held_out: Encoded,
    settings: TrainSettings,
    sub_models: SubModels,
    state: State,
    metrics: Metrics,
    folder: PathBuf,
    checkpoint: Option<PathBuf>,
    ranks: Ranks,
}

struct Step {
    loss: f64,
    learning_rate: f64,
    tokens: u64,
}

impl Trainer {
    fn new(
        engine: &Engine,
        ranks: Ranks,
        training: Training,
        folder: &Path,
    ) -> Result<Self, TrainError> {
        check(&training)?;
        let batch_size = training.settings.batch_size;
        if ranks.size() > batch_size {
            return Err(TrainError::TooManyRanks { ranks: ranks.size(), batch_size });
        }
        let identity = checkpoint::identity(&training);
        let Training { start, objective, data, held_out, settings } = training;
        let sub_models = settings.sub_models.within(start.architecture())?;
        fs::create_dir_all(folder)?;

        let saved = checkpoint::list(folder).pop();
        checkpoint::check_ranks(&ranks, &identity, saved.as_ref())?;
        let (mut plm, state) = match &saved {
            Some(saved) => {
                let state = checkpoint::read_state(saved, &identity)?;
                (SuperPlm::load(&saved.folder)?.with_source(start.source()), state)
            }
            None => (start, State::new(identity)),
        };
        objective.get().add_parameters(&mut plm, settings.seed)?;
        let on_device = if engine.is_fused() { None } else { Some(objective.on(engine)?) };
        let mut variables = Variables::of(&mut plm, engine)?;
        if let Some(saved) = &saved {
            checkpoint::restore(saved, &mut variables)?;
        }
        let specials = plm.tokenizer().specials();
        let batches = Batches::new(data, specials.padding, settings.batch_size, settings.seed);
        let checkpoint = saved.map(|saved| saved.folder);
        ranks.say_at_end(checkpoint::last_good(&ranks, checkpoint.as_deref()));
        Ok(Self {
            metrics: Metrics::open(&ranks, &folder.join("metrics.jsonl"), state.steps)?,
            ranks,
            checkpoint,
            folder: folder.to_owned(),
            plm,
            variables,
            objective,
            on_device,
            specials,
            batches,
            held_out,
            settings,
            sub_models,
            state,
        })
    }

    /// Makes one optimizer step.
    fn step(&mut self) -> Result<Step, TrainError> {
        let began = Instant::now();
        let (step, accumulation) =
            (self.state.steps, self.settings.gradient_accumulation_steps as u64);
        let archs = self.sub_models.of_step(self.settings.seed, step)?;
        let mut losses = vec![0.0; archs.len()];
        let mut terms = BTreeMap::new();
        let mut tokens = 0;
        for number in step * accumulation..(step + 1) * accumulation {
            let batch = self.batches.batch(number);
            tokens += batch.real_tokens() as u64;
            let prepared = self.on_device.as_ref().unwrap_or(&self.objective).get().prepare(
                batch,
                &objective::Step {
                    plm: &self.plm,
                    specials: &self.specials,
                    settings: &self.settings,
                    number,
                    engine: self.variables.engine(),
                    ranks: &self.ranks,
                },
            )?;
            if prepared.goal.is_empty() {
                continue;
            }
            for (index, arch) in archs.iter().enumerate() {
                let eps = self.plm.config().layer_norm_eps;
                let parts = prepared.terms(&self.variables, arch, eps)?;
                let loss = objective::Term::total(&parts)?;
                losses[index] += f64::from(loss.to_scalar::<f32>()?) / accumulation as f64;
                if parts.len() > 1 {
                    for part in parts {
                        let value = f64::from(part.value.to_scalar::<f32>()?);
                        let values: &mut Vec<f64> = terms.entry(part.name.to_owned()).or_default();
                        values.resize(archs.len(), 0.0);
                        values[index] += value / accumulation as f64;
                    }
                }
                // The gradients are added up where the parameters are.
                let gradients = (loss / accumulation as f64)?.backward()?;
                self.variables.add_gradients(&gradients)?;
            }
        }
        let exchange = self.variables.exchange(&self.ranks)?;
        self.ranks.sum_f64(&mut losses);
        terms.values_mut().for_each(|values| self.ranks.sum_f64(values));
        let limit = self.state.first_loss.map_or(f64::INFINITY, |first| first * EXPLODED);
        for (arch, value) in archs.iter().zip(&losses) {
            if !value.is_finite() || *value > limit {
                return Err(self.diverged("loss", arch.id(), *value));
            }
        }
        let learning_rate = self.settings.schedule.learning_rate_at(step);
        let TrainSettings { weight_decay, max_grad_norm, .. } = self.settings;
        let gradient_norm =
            self.variables.optimize(step, learning_rate, weight_decay, max_grad_norm)?;
        if !gradient_norm.is_finite() {
            let ids: Vec<String> = archs.iter().map(Architecture::id).collect();
            return Err(self.diverged("gradient norm", ids.join(", "), gradient_norm));
        }
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        self.state.first_loss.get_or_insert(loss);
        self.state.steps += 1;
        self.metrics.append(&MetricsLine::Step {
            step,
            losses: archs.into_iter().zip(losses).collect(),
            terms,
            learning_rate,
            gradient_norm,
            tokens,
            seconds: began.elapsed().as_secs_f64(),
            exchange,
        })?;
        Ok(Step { loss, learning_rate, tokens })
    }

    fn diverged(&self, what: &'static str, arch: String, value: f64) -> TrainError {
        TrainError::Diverged {
            step: self.state.steps,
            what,
            arch,
            value,
            checkpoint: self.checkpoint.clone(),
        }
    }

    /// Makes the model what the training has come to.
    fn update_model(&mut self) -> Result<(), TrainError> {
        Ok(self.variables.write_to(&mut self.plm)?)
    }

    fn validate(&mut self) -> Result<Vec<(Architecture, f64)>, TrainError> {
        self.update_model()?;
        let panel = &self.settings.panel;
        // Every rank validates some of the panel.
        let mut losses = vec![0.0; panel.len()];
        let own = self.ranks.part(panel.len());
        if !own.is_empty() {
            let (objective, panel) = (self.objective.get(), &panel[own.clone()]);
            let found = objective.validate(&self.plm, &self.specials, panel, &self.held_out)?;
            losses[own].copy_from_slice(&found);
        }
        self.ranks.sum_f64(&mut losses);
        let losses: Vec<_> = panel.iter().cloned().zip(losses).collect();
        let step = self.state.steps;
        self.metrics.append(&MetricsLine::Validation { step, losses: losses.clone() })?;
        Ok(losses)
    }

    fn save(&mut self) -> Result<PathBuf, TrainError> {
        self.update_model()?;
        checkpoint::check_alike(&self.ranks, &self.variables, self.state.steps)?;
        let saved = checkpoint::folder(&self.folder, self.state.steps);
        if self.ranks.is_first() {
            checkpoint::save(&self.folder, &self.plm, &self.variables, &self.state)?;
        }
        // Whoever says that it is there must not be ahead of it.
        self.ranks.barrier();
        self.ranks.say_at_end(checkpoint::last_good(&self.ranks, Some(&saved)));
        self.checkpoint = Some(saved.clone());
        Ok(saved)
    }

    fn finish(mut self, stopped: Stopped) -> Result<Outcome, TrainError> {
        let checkpoint = self.save()?;
        // A continued training may have been validated at its last step by the one before, of
        // the same panel or another.
        let is_of_now = |(step, losses): &(u64, Vec<(Architecture, f64)>)| {
            *step == self.state.steps
                && losses.iter().map(|(arch, _)| arch).eq(&self.settings.panel)
        };
        let validation = match self.metrics.validated.clone().filter(is_of_now) {
            Some((_, losses)) => losses,
            None => self.validate()?,
        };
        let mut model = None;
        if stopped == Stopped::Completed {
            let folder = self.folder.join("model");
            if self.ranks.is_first() && !folder.is_dir() {
                if let Some(teacher) = self.objective.get().teacher() {
                    let embeddings = TeacherEmbeddings::new(teacher, &self.held_out)?;
                    self.plm = self.plm.with_teacher_embeddings(embeddings);
                }
                extract(&self.plm, self.plm.architecture(), &folder)?;
            }
            model = Some(folder);
            self.ranks.barrier();
        }
        Ok(Outcome { steps: self.state.steps, stopped, checkpoint, model, validation })
    }
}

/// Refuses what would fail later.
fn check(training: &Training) -> Result<(), TrainError> {
    let Training { start, objective, data, held_out, settings } = training;
    if !data.is_of(start.tokenizer()) {
        return Err(TrainError::Vocabulary);
    }
    check_start(start, objective, settings, data.sequence_length(), held_out)
}

/// Everything that can be wrong with a training before its text is prepared, in sequences of
/// `sequence_length`: refused in a moment, where preparing the text may take minutes.
/// [`train`] checks the same once more.
///
/// # Errors
/// [`TrainError::OutOfRange`], [`TrainError::SequenceLength`], [`TrainError::Teacher`],
/// [`TrainError::Space`], [`TrainError::Model`].
pub fn check_start(
    start: &SuperPlm,
    objective: &Objective,
    settings: &TrainSettings,
    sequence_length: usize,
    held_out: &Encoded,
) -> Result<(), TrainError> {
    settings.check_together()?;
    settings.sub_models.within(start.architecture())?;
    let objective = objective.get();
    let teacher = objective.teacher();
    let models = std::iter::once(("model", start)).chain(teacher.map(|t| ("teacher", t)));
    for (model, plm) in models {
        let limit = plm.config().max_position_embeddings;
        for (what, found) in
            [("training text", sequence_length), ("held-out text", held_out.sequence)]
        {
            if found > limit {
                return Err(TrainError::SequenceLength { what, found, model, limit });
            }
        }
    }
    objective.check(start)?;
    start.check_batch(held_out)?;
    let fixed = match &settings.sub_models {
        SubModels::Fixed(arch) => Some(arch),
        SubModels::OneShot { .. } => None,
    };
    for arch in settings.panel.iter().chain(fixed) {
        check_fit(start.architecture(), arch)?;
    }
    Ok(())
}
