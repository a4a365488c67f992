//! What training minimises: one file an objective, and the list of them.
//!
//! An objective is known everywhere by its entry in [`ObjectiveKind::all`]: in TOML files, on
//! the command line, in checkpoints and in metrics.

mod kd;
mod mlm;
mod sentence;

use std::fmt;

use atb_ranks::Ranks;
use atb_space::Architecture;
use atb_text::{Encoded, Specials};
use candle_core::Tensor;
use serde_json::Value;

use super::variables::Variables;
use super::{TrainError, TrainSettings};
use crate::bert::{self, Batch, Output};
use crate::fitness::KdFitness;
use crate::ops::Engine;
use crate::parameters::{Linear, MlmHead};
use crate::{PlmError, SuperPlm};

/// An objective as the program knows it.
#[derive(Debug)]
pub struct ObjectiveKind {
    /// What it is called in files and on the command line.
    pub name: &'static str,
    /// What training by it is, in a few words.
    pub about: &'static str,
    /// Whether it takes a teacher.
    pub needs_teacher: bool,
    make: fn(Option<SuperPlm>, Value) -> Made,
}

/// An objective of its teacher and its options.
type Made = Result<Box<dyn Minimised>, TrainError>;

impl PartialEq for ObjectiveKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl ObjectiveKind {
    /// All that there are, the usual one first.
    #[must_use]
    pub fn all() -> &'static [Self] {
        const ALL: &[ObjectiveKind] = &[kd::KIND, mlm::KIND, sentence::KIND];
        ALL
    }

    /// The one of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|kind| kind.name == name)
    }

    /// The objective with its options, a table of its own keys.
    ///
    /// # Errors
    /// [`TrainError::Objective`] for an option that it does not have, and for a teacher that
    /// it needs and did not get.
    pub fn objective(
        &self,
        teacher: Option<SuperPlm>,
        options: Value,
    ) -> Result<Objective, TrainError> {
        Ok(Objective((self.make)(teacher, options)?))
    }
}

/// What a training minimises, with its teacher.
#[derive(Debug)]
pub struct Objective(Box<dyn Minimised>);

impl Objective {
    /// The distance of last hidden states (through a learned projection) and last attention
    /// scores from a teacher's, see [`KdLoss`](crate::KdLoss).
    #[must_use]
    pub fn distillation(teacher: SuperPlm) -> Self {
        Self(Box::new(kd::Distillation { teacher }))
    }

    /// Masked language modelling: the cross-entropy of 15 % of the tokens.
    #[must_use]
    pub fn masked_lm() -> Self {
        Self(Box::new(mlm::MaskedLm))
    }

    /// What it is called in files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Where the teacher's weights come from, see [`SuperPlm::source`].
    #[must_use]
    pub fn teacher_source(&self) -> Option<&str> {
        self.0.teacher().map(SuperPlm::source)
    }

    pub(super) fn get(&self) -> &dyn Minimised {
        &*self.0
    }

    /// The same objective with its teacher on the device of `engine`.
    pub(super) fn on(&self, engine: &Engine) -> Result<Self, PlmError> {
        Ok(Self(self.0.on(engine)?))
    }
}

/// What an objective is to the training loop.
pub(super) trait Minimised: fmt::Debug + Send + Sync {
    /// What it is called in files.
    fn name(&self) -> &'static str;

    /// Its options, as far as the steps depend on them; they are part of what a checkpoint is
    /// of.
    fn options(&self) -> Option<Value> {
        None
    }

    /// The teacher, if there is one.
    fn teacher(&self) -> Option<&SuperPlm> {
        None
    }

    /// Checks that a model can be trained with this objective.
    fn check(&self, _plm: &SuperPlm) -> Result<(), TrainError> {
        Ok(())
    }

    /// Adds the parameters that the objective needs to a model that passed
    /// [`Minimised::check`] and lacks them.
    fn add_parameters(&self, _plm: &mut SuperPlm, _seed: u64) -> Result<(), TrainError> {
        Ok(())
    }

    /// The same objective with its teacher on the device of `engine`.
    fn on(&self, engine: &Engine) -> Result<Box<dyn Minimised>, PlmError>;

    /// What all of a step's sub-models share: the batch and what is to be made of it. Of the batch
    /// of all ranks a rank takes its part; what it loses, its terms, is its share of what the whole
    /// batch loses, so that the ranks' terms, and their gradients, add up.
    fn prepare(&self, batch: Encoded, of: &Step<'_>) -> Result<Prepared, PlmError>;

    /// The loss of each architecture on held-out text.
    fn validate(
        &self,
        plm: &SuperPlm,
        specials: &Specials,
        panel: &[Architecture],
        held_out: &Encoded,
    ) -> Result<Vec<f64>, PlmError>;
}

/// What a batch is prepared for.
pub(super) struct Step<'a> {
    /// The model that is trained; its weights may lag behind.
    pub(super) plm: &'a SuperPlm,
    pub(super) specials: &'a Specials,
    pub(super) settings: &'a TrainSettings,
    /// The batch's number since the training began.
    pub(super) number: u64,
    /// Where the variables and the teacher are.
    pub(super) engine: &'a Engine,
    /// Those that share the batch.
    pub(super) ranks: &'a Ranks,
}

/// A batch that is prepared for a step.
pub(super) struct Prepared {
    /// The student's input.
    pub(super) batch: Batch,
    /// What is to be made of it.
    pub(super) goal: Box<dyn Goal>,
}

/// What is to be made of a batch.
pub(super) trait Goal {
    /// How far a sub-model is from it, as named terms that are added up; at least one.
    fn terms(&self, student: &Student<'_>, batch: &Batch) -> Result<Vec<Term>, PlmError>;

    /// Whether nothing of the batch counts; then the terms are not asked for.
    fn is_empty(&self) -> bool {
        false
    }
}

/// A term of a loss.
pub(crate) struct Term {
    /// What it is called in metrics.
    pub(crate) name: &'static str,
    /// A scalar with gradients.
    pub(crate) value: Tensor,
}

impl Term {
    /// The sum of a loss's terms.
    pub(crate) fn total(terms: &[Self]) -> candle_core::Result<Tensor> {
        match terms {
            [] => candle_core::bail!("a loss without terms"),
            [first, others @ ..] => {
                others.iter().try_fold(first.value.clone(), |sum, term| sum + &term.value)
            }
        }
    }
}

/// A sub-model in training, and what it made of a batch.
pub(super) struct Student<'a> {
    pub(super) output: Output,
    pub(super) layer_norm_eps: f64,
    variables: &'a Variables,
    arch: &'a Architecture,
}

impl Student<'_> {
    pub(super) fn engine(&self) -> &Engine {
        self.variables.engine()
    }

    /// The share of the projection to the teacher's width.
    pub(super) fn kd_projection(&self) -> Result<Linear, PlmError> {
        self.variables.kd_projection(self.arch)
    }

    /// The MLM head's share, and the decoder's weights.
    pub(super) fn mlm_head(&self) -> Result<(MlmHead, Tensor), PlmError> {
        self.variables.mlm_head(self.arch)
    }
}

impl Prepared {
    /// The terms of a sub-model's loss.
    pub(super) fn terms(
        &self,
        variables: &Variables,
        arch: &Architecture,
        layer_norm_eps: f64,
    ) -> Result<Vec<Term>, PlmError> {
        let encoder = variables.encoder(arch)?;
        let engine = variables.engine();
        let output = bert::forward(&encoder, arch, layer_norm_eps, &self.batch, engine)?;
        let student = Student { output, layer_norm_eps, variables, arch };
        self.goal.terms(&student, &self.batch)
    }
}

/// Checks that a model's token ids are a teacher's, and that its projection, if it has one,
/// leads to the teacher's width.
fn check_projection(plm: &SuperPlm, teacher: &SuperPlm) -> Result<(), TrainError> {
    KdFitness::check_vocabulary(plm, teacher)
        .map_err(|error| TrainError::Teacher(error.to_string()))?;
    let width = teacher.architecture().hidden();
    match plm.kd_projection(plm.architecture())?.map(|projection| projection.weight.dims()[0]) {
        Some(found) if found != width => Err(TrainError::Teacher(format!(
            "the model's kd_projection.weight leads to a hidden size of {found}, the teacher \
             has {width}"
        ))),
        _ => Ok(()),
    }
}

/// The teacher of an objective that takes one.
fn needed(name: &'static str, teacher: Option<SuperPlm>) -> Result<SuperPlm, TrainError> {
    let problem = "needs a teacher".to_owned();
    teacher.ok_or(TrainError::Objective { name, problem })
}

/// Refuses options of an objective that has none.
fn no_options(name: &'static str, options: &Value) -> Result<(), TrainError> {
    match options {
        Value::Null => Ok(()),
        Value::Object(map) if map.is_empty() => Ok(()),
        _ => Err(TrainError::Objective {
            name,
            problem: format!("has no options, but {options} was given"),
        }),
    }
}
