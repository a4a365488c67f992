//! Distillation of the last layer: hidden states and attention scores as the teacher's.

use atb_space::Architecture;
use atb_text::{Encoded, Specials};

use super::{
    Goal, Minimised, ObjectiveKind, Prepared, Step, Student, Term, check_projection, needed,
    no_options,
};
use crate::bert::{Batch, Output};
use crate::fitness::KdFitness;
use crate::kd::KdLoss;
use crate::ops::Engine;
use crate::train::TrainError;
use crate::{PlmError, SuperPlm};

const NAME: &str = "kd";

pub(super) const KIND: ObjectiveKind = ObjectiveKind {
    name: NAME,
    about: "distilled from the teacher",
    needs_teacher: true,
    make: |teacher, options| {
        no_options(NAME, &options)?;
        Ok(Box::new(Distillation { teacher: needed(NAME, teacher)? }))
    },
};

#[derive(Debug)]
pub(super) struct Distillation {
    pub(super) teacher: SuperPlm,
}

impl Minimised for Distillation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn teacher(&self) -> Option<&SuperPlm> {
        Some(&self.teacher)
    }

    fn check(&self, plm: &SuperPlm) -> Result<(), TrainError> {
        let Self { teacher } = self;
        let refuse = |problem: String| Err(TrainError::Teacher(problem));
        let of_teacher = teacher.architecture().layers().last().map_or(0, |layer| layer.heads);
        for (number, layer) in plm.architecture().layers().iter().enumerate() {
            if layer.heads != of_teacher {
                return refuse(format!(
                    "layer {number} of the model has {} attention heads, the teacher's last \
                     layer {of_teacher}; heads are compared pair by pair, so start from an \
                     architecture with as many",
                    layer.heads
                ));
            }
        }
        check_projection(plm, teacher)
    }

    fn add_parameters(&self, plm: &mut SuperPlm, _seed: u64) -> Result<(), TrainError> {
        Ok(plm.ensure_kd_projection(self.teacher.architecture().hidden())?)
    }

    fn on(&self, engine: &Engine) -> Result<Box<dyn Minimised>, PlmError> {
        Ok(Box::new(Self { teacher: self.teacher.on(engine)? }))
    }

    fn prepare(&self, batch: Encoded, of: &Step<'_>) -> Result<Prepared, PlmError> {
        let real = batch.attention_mask.chunks_exact(batch.sequence);
        let real = real.map(|mask| mask.iter().filter(|real| **real != 0).count() as f64);
        let (tokens, pairs) =
            real.fold((0.0, 0.0), |(tokens, pairs), n| (tokens + n, pairs + n * n));
        let part = batch.rows(of.ranks.part(batch.batch));
        let teacher = self.teacher.forward(self.teacher.architecture(), &part)?;
        Ok(Prepared {
            batch: Batch::new(&part, of.engine.device())?,
            goal: Box::new(AsTeacher { teacher, tokens, pairs }),
        })
    }

    fn validate(
        &self,
        plm: &SuperPlm,
        _specials: &Specials,
        panel: &[Architecture],
        held_out: &Encoded,
    ) -> Result<Vec<f64>, PlmError> {
        let fitness = KdFitness::new(plm, &self.teacher, held_out)?;
        panel.iter().map(|arch| fitness.loss(arch)).collect()
    }
}

struct AsTeacher {
    teacher: Output,
    /// Real tokens of the whole batch.
    tokens: f64,
    /// Pairs of real tokens of a row, of all rows of the whole batch.
    pairs: f64,
}

impl Goal for AsTeacher {
    fn terms(&self, student: &Student<'_>, batch: &Batch) -> Result<Vec<Term>, PlmError> {
        let projection = student.kd_projection()?;
        let Student { output, .. } = student;
        let loss =
            KdLoss::by(student.engine(), output, &self.teacher, &batch.mask, Some(&projection))?
                .over(self.tokens, self.pairs);
        Ok(vec![
            Term { name: "hidden_states", value: loss.hidden_states()? },
            Term { name: "attention_scores", value: loss.attention_scores()? },
        ])
    }
}
