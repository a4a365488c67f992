//! Masked language modelling.

use atb_space::Architecture;
use atb_text::{Encoded, Specials};
use candle_core::Tensor;

use super::{Goal, Minimised, ObjectiveKind, Prepared, Step, Student, Term, no_options};
use crate::bert::{self, Batch};
use crate::data::mask;
use crate::masked_lm::{mask_held_out, masked_lm_loss, targets};
use crate::ops::Engine;
use crate::random::{Purpose, generator};
use crate::train::TrainError;
use crate::{PlmError, SuperPlm};

const NAME: &str = "mlm";

pub(super) const KIND: ObjectiveKind = ObjectiveKind {
    name: NAME,
    about: "masked language modelling",
    needs_teacher: false,
    make: |_, options| {
        no_options(NAME, &options)?;
        Ok(Box::new(MaskedLm))
    },
};

#[derive(Debug)]
pub(super) struct MaskedLm;

impl Minimised for MaskedLm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add_parameters(&self, plm: &mut SuperPlm, seed: u64) -> Result<(), TrainError> {
        Ok(plm.ensure_mlm_head(&mut generator(seed, Purpose::Parameters, 0))?)
    }

    fn on(&self, _engine: &Engine) -> Result<Box<dyn Minimised>, PlmError> {
        Ok(Box::new(Self))
    }

    fn prepare(&self, batch: Encoded, of: &Step<'_>) -> Result<Prepared, PlmError> {
        let mut rng = generator(of.settings.seed, Purpose::Masking, of.number);
        let masked = mask(&batch, of.specials, of.plm.config().vocab_size, &mut rng);
        let device = of.engine.device();
        let count = masked.labels.len();
        let part = masked.rows(of.ranks.part(batch.batch));
        let (positions, labels) = targets(&part, device)?;
        Ok(Prepared {
            batch: Batch::new(&part.batch, device)?,
            goal: Box::new(Tokens { positions, labels, count }),
        })
    }

    fn validate(
        &self,
        plm: &SuperPlm,
        specials: &Specials,
        panel: &[Architecture],
        held_out: &Encoded,
    ) -> Result<Vec<f64>, PlmError> {
        let batches = mask_held_out(plm, specials, held_out);
        panel.iter().map(|arch| masked_lm_loss(plm, arch, &batches)).collect()
    }
}

struct Tokens {
    /// i64, into `[batch * sequence]`.
    positions: Tensor,
    /// i64.
    labels: Tensor,
    /// Labels of the whole batch.
    count: usize,
}

impl Goal for Tokens {
    fn terms(&self, student: &Student<'_>, _batch: &Batch) -> Result<Vec<Term>, PlmError> {
        let Self { positions, labels, count } = self;
        let (head, decoder) = student.mlm_head()?;
        let (eps, engine) = (student.layer_norm_eps, student.engine());
        let hidden = &student.output.hidden;
        let logits = bert::predict_masked(&head, &decoder, eps, hidden, positions, engine)?;
        let value = (engine.cross_entropy(&logits, labels)? / *count as f64)?;
        Ok(vec![Term { name: "cross_entropy", value }])
    }

    fn is_empty(&self) -> bool {
        self.labels.elem_count() == 0
    }
}
