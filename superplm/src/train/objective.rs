//! What training minimises.

use atb_space::Architecture;
use atb_text::Encoded;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::variables::Variables;
use super::{TrainError, TrainSettings};
use crate::bert::{self, Batch, Output};
use crate::data::{Masked, Specials, mask};
use crate::fitness::KdFitness;
use crate::kd::KdLoss;
use crate::ops::Engine;
use crate::random::{Purpose, generator};
use crate::{PlmError, SuperPlm};

/// Rows of held-out text at a time.
const ROWS: usize = 8;

/// What training minimises.
#[derive(Debug)]
pub enum Objective {
    /// The distance of last hidden states (through a learned projection) and last attention
    /// scores from a teacher's, see [`KdLoss`].
    Distillation {
        /// The teacher.
        teacher: Box<SuperPlm>,
    },
    /// Masked language modelling: the cross-entropy of 15 % of the tokens.
    MaskedLm,
}

impl Objective {
    /// What the objective is called in files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Distillation { .. } => "kd",
            Self::MaskedLm => "mlm",
        }
    }

    /// Where the teacher's weights come from, see [`SuperPlm::source`].
    #[must_use]
    pub fn teacher_source(&self) -> Option<&str> {
        match self {
            Self::Distillation { teacher } => Some(teacher.source()),
            Self::MaskedLm => None,
        }
    }

    /// Checks that a model can be trained with this objective.
    pub(super) fn check(&self, plm: &SuperPlm) -> Result<(), TrainError> {
        let Self::Distillation { teacher } = self else { return Ok(()) };
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
        KdFitness::check_vocabulary(plm, teacher)
            .map_err(|error| TrainError::Teacher(error.to_string()))?;
        let width = teacher.architecture().hidden();
        match plm.kd_projection(plm.architecture())?.map(|projection| projection.weight.dims()[0]) {
            Some(found) if found != width => refuse(format!(
                "the model's kd_projection.weight leads to a hidden size of {found}, the \
                 teacher has {width}"
            )),
            _ => Ok(()),
        }
    }

    /// Adds the parameters that the objective needs to a model that passed
    /// [`Objective::check`].
    pub(super) fn prepare(&self, plm: &mut SuperPlm, seed: u64) -> Result<(), TrainError> {
        match self {
            Self::MaskedLm => {
                plm.ensure_mlm_head(&mut generator(seed, Purpose::Parameters, 0))?;
            }
            Self::Distillation { teacher } => {
                plm.ensure_kd_projection(teacher.architecture().hidden())?;
            }
        }
        Ok(())
    }

    /// The same objective with its teacher on the device of `engine`.
    pub(super) fn on(&self, engine: &Engine) -> Result<Self, PlmError> {
        Ok(match self {
            Self::Distillation { teacher } => {
                Self::Distillation { teacher: Box::new(teacher.on(engine)?) }
            }
            Self::MaskedLm => Self::MaskedLm,
        })
    }

    /// A batch with what all of a step's sub-models share, on the device of `engine`, where
    /// the teacher is too.
    pub(super) fn task(
        &self,
        plm: &SuperPlm,
        specials: &Specials,
        settings: &TrainSettings,
        number: u64,
        batch: Encoded,
        engine: &Engine,
    ) -> Result<Task, PlmError> {
        let device = engine.device();
        match self {
            Self::Distillation { teacher } => {
                let output = teacher.forward(teacher.architecture(), &batch)?;
                Ok(Task { batch: Batch::new(&batch, device)?, goal: Goal::Teacher(output) })
            }
            Self::MaskedLm => {
                let mut rng = generator(settings.seed, Purpose::Masking, number);
                let masked = mask(&batch, specials, plm.config().vocab_size, &mut rng);
                Task::masked(&masked, device)
            }
        }
    }

    /// The loss of each architecture on held-out text.
    pub(super) fn validate(
        &self,
        plm: &SuperPlm,
        specials: &Specials,
        panel: &[Architecture],
        held_out: &Encoded,
    ) -> Result<Vec<f64>, PlmError> {
        match self {
            Self::Distillation { teacher } => {
                let fitness = KdFitness::new(plm, teacher, held_out)?;
                panel.iter().map(|arch| fitness.loss(arch)).collect()
            }
            Self::MaskedLm => {
                let batches = mask_held_out(plm, specials, held_out);
                panel.iter().map(|arch| masked_lm_loss(plm, arch, &batches)).collect()
            }
        }
    }
}

/// Held-out text with its masks, always the same ones.
pub(crate) fn mask_held_out(plm: &SuperPlm, specials: &Specials, text: &Encoded) -> Vec<Masked> {
    let mut rng = generator(0, Purpose::Validation, 0);
    text.split_trimmed(ROWS)
        .iter()
        .map(|batch| mask(batch, specials, plm.config().vocab_size, &mut rng))
        .collect()
}

/// The mean cross-entropy of a sub-model over masked batches, on all cores.
pub(crate) fn masked_lm_loss(
    plm: &SuperPlm,
    arch: &Architecture,
    batches: &[Masked],
) -> Result<f64, PlmError> {
    let (head, decoder) = plm.mlm_head(arch)?.ok_or(PlmError::NoMlmHead)?;
    let eps = plm.config().layer_norm_eps;
    let engine = plm.engine();
    let parts: Vec<(f64, usize)> = batches
        .par_iter()
        .map(|masked| {
            let (positions, labels) = targets(masked, engine.device())?;
            let hidden = plm.forward(arch, &masked.batch)?.hidden;
            let logits = bert::predict_masked(&head, &decoder, eps, &hidden, &positions, engine)?;
            let sum = engine.cross_entropy(&logits, &labels)?.to_scalar::<f32>()?;
            Ok((f64::from(sum), masked.labels.len()))
        })
        .collect::<Result<_, PlmError>>()?;
    // In the order of the text, whichever thread was first.
    let sum: f64 = parts.iter().map(|part| part.0).sum();
    let count: usize = parts.iter().map(|part| part.1).sum();
    if count == 0 {
        return Err(PlmError::NothingToScore);
    }
    let loss = sum / count as f64;
    if loss.is_finite() { Ok(loss) } else { Err(PlmError::NotFinite { arch: arch.id(), loss }) }
}

/// The masked positions, i64 into `[batch * sequence]`, and the true tokens there, i64.
fn targets(masked: &Masked, device: &Device) -> candle_core::Result<(Tensor, Tensor)> {
    let ids = |values: &[u32]| {
        let values: Vec<i64> = values.iter().map(|value| i64::from(*value)).collect();
        Tensor::new(values, device)
    };
    Ok((ids(&masked.positions)?, ids(&masked.labels)?))
}

/// A batch and what is to be made of it.
pub(super) struct Task {
    batch: Batch,
    goal: Goal,
}

enum Goal {
    Teacher(Output),
    Tokens {
        /// i64, into `[batch * sequence]`.
        positions: Tensor,
        /// i64.
        labels: Tensor,
    },
}

impl Task {
    fn masked(masked: &Masked, device: &Device) -> Result<Self, PlmError> {
        let (positions, labels) = targets(masked, device)?;
        let goal = Goal::Tokens { positions, labels };
        Ok(Self { batch: Batch::new(&masked.batch, device)?, goal })
    }

    /// The loss of a sub-model, a scalar with gradients.
    pub(super) fn loss(
        &self,
        variables: &Variables,
        arch: &Architecture,
        layer_norm_eps: f64,
    ) -> Result<Tensor, PlmError> {
        let encoder = variables.encoder(arch)?;
        let engine = variables.engine();
        let output = bert::forward(&encoder, arch, layer_norm_eps, &self.batch, engine)?;
        match &self.goal {
            Goal::Teacher(teacher) => {
                let projection = variables.kd_projection(arch)?;
                let mask = &self.batch.mask;
                let loss = KdLoss::by(engine, &output, teacher, mask, Some(&projection))?;
                Ok(loss.total()?)
            }
            Goal::Tokens { positions, labels } => {
                let (head, decoder) = variables.mlm_head(arch)?;
                let logits = bert::predict_masked(
                    &head,
                    &decoder,
                    layer_norm_eps,
                    &output.hidden,
                    positions,
                    engine,
                )?;
                Ok((engine.cross_entropy(&logits, labels)? / labels.dims1()? as f64)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `tests/reference/make_reference.py` computed the loss with PyTorch and transformers.
    #[test]
    fn the_loss_of_an_imported_masked_language_model_is_the_reference_implementations() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-mlm");
        let plm = SuperPlm::load(&folder).expect("loads");
        let expected = folder.join("expected.safetensors");
        let expected = candle_core::safetensors::load(expected, &Device::Cpu).expect("opens");
        let read = |name: &str| -> Vec<i64> {
            expected[name].flatten_all().and_then(|ids| ids.to_vec1()).expect(name)
        };
        let (batch, sequence) = expected["masked_ids"].dims2().expect("two axes");
        let batch = Encoded {
            batch,
            sequence,
            input_ids: read("masked_ids"),
            attention_mask: read("attention_mask"),
            token_type_ids: vec![0; batch * sequence],
        };
        let (positions, labels) = read("labels")
            .into_iter()
            .zip(0..)
            .filter_map(|(label, position)| Some((position, u32::try_from(label).ok()?)))
            .unzip();
        let masked = Masked { batch, positions, labels };
        assert_eq!(masked.labels, [5, 7, 10]);
        let loss = masked_lm_loss(&plm, plm.architecture(), &[masked]).expect("scores");
        let expected: Vec<f32> = expected["mlm_loss"].to_vec1().expect("a loss");
        let difference = (loss - f64::from(expected[0])).abs();
        assert!(difference < 1e-5, "{loss} for {}", expected[0]);
    }
}
