//! The loss of task-agnostic distillation: how far a student's last layer is from the
//! teacher's.
//!
//! Two mean squared errors are added (AutoTinyBERT, section on the KD-based search space):
//!
//! - **hidden states**, the student's projected to the teacher's width: the mean over the
//!   real tokens and the teacher's dimensions;
//! - **attention scores** before the softmax: the mean over the heads that both have,
//!   paired first to first, and the pairs of a real query and a real key of one row. A
//!   score with padding on either side counts as zero in both and is not part of the mean.
//!
//! So padding changes neither: the loss of a text does not depend on how it is batched.

use candle_core::Tensor;

use crate::bert::Output;
use crate::ops::Engine;
use crate::parameters::Linear;

/// Sums of squared differences over a batch and the number of values they are over.
///
/// Kept apart so that batches add up to the mean over all of their tokens.
#[derive(Clone, Debug)]
pub struct KdLoss {
    /// Sum of squared differences of the hidden states, a scalar.
    pub hidden_sum: Tensor,
    /// Real tokens times the teacher's hidden size.
    pub hidden_count: f64,
    /// Sum of squared differences of the attention scores, a scalar.
    pub attention_sum: Tensor,
    /// Paired heads times the pairs of real tokens.
    pub attention_count: f64,
    /// The teacher's hidden size.
    width: usize,
    /// Paired heads.
    heads: usize,
}

impl KdLoss {
    /// Compares a student's output with the teacher's for the same batch.
    ///
    /// `mask` is `[batch, sequence]`, 1 for real tokens and 0 for padding. `projection` leads
    /// from the student's hidden size to the teacher's; without one the student's dimensions stand
    /// for the teacher's first, and those it lacks count as zero.
    ///
    /// # Errors
    /// candle's error if the shapes do not belong together: another batch, or without a
    /// projection a student wider than the teacher.
    pub fn new(
        student: &Output,
        teacher: &Output,
        mask: &Tensor,
        projection: Option<&Linear>,
    ) -> candle_core::Result<Self> {
        Self::by(&Engine::of(mask.device()), student, teacher, mask, projection)
    }

    /// [`KdLoss::new`] by the operations of `engine`.
    pub(crate) fn by(
        engine: &Engine,
        student: &Output,
        teacher: &Output,
        mask: &Tensor,
        projection: Option<&Linear>,
    ) -> candle_core::Result<Self> {
        let width = teacher.hidden.dim(2)?;
        let student_width = student.hidden.dim(2)?;
        let projected = match projection {
            Some(projection) => project(engine, &student.hidden, projection)?,
            None if student_width > width => candle_core::bail!(
                "a student of hidden size {student_width} needs a projection to a teacher of {width}"
            ),
            None => student.hidden.pad_with_zeros(2, 0, width - student_width)?,
        };
        let hidden_sum = engine.masked_squared_error(&projected, &teacher.hidden, mask)?;
        let heads = student.attention_scores.dim(1)?.min(teacher.attention_scores.dim(1)?);
        let attention_sum = engine.masked_squared_error(
            &student.attention_scores.narrow(1, 0, heads)?,
            &teacher.attention_scores.narrow(1, 0, heads)?,
            mask,
        )?;
        let tokens: Vec<f32> = mask.sum(1)?.to_vec1()?;
        let tokens = tokens.into_iter().map(f64::from);
        Ok(Self {
            hidden_sum,
            hidden_count: tokens.clone().sum::<f64>() * width as f64,
            attention_sum,
            attention_count: tokens.map(|n| n * n).sum::<f64>() * heads as f64,
            width,
            heads,
        })
    }

    /// The share that these sums have in the means over a larger batch, of so many real tokens and
    /// pairs of them.
    pub(crate) fn over(self, tokens: f64, pairs: f64) -> Self {
        Self {
            hidden_count: tokens * self.width as f64,
            attention_count: pairs * self.heads as f64,
            ..self
        }
    }

    /// The loss as a scalar tensor with gradients: mean over hidden states plus mean over
    /// attention scores.
    ///
    /// # Errors
    /// candle's own.
    pub fn total(&self) -> candle_core::Result<Tensor> {
        self.hidden_states()? + self.attention_scores()?
    }

    /// The mean squared error of the hidden states, a scalar.
    pub(crate) fn hidden_states(&self) -> candle_core::Result<Tensor> {
        &self.hidden_sum / self.hidden_count
    }

    /// The mean squared error of the attention scores, a scalar.
    pub(crate) fn attention_scores(&self) -> candle_core::Result<Tensor> {
        &self.attention_sum / self.attention_count
    }
}

/// Hidden states `[batch, sequence, hidden]` in the width of the teacher that `projection`
/// leads to.
pub(crate) fn project(
    engine: &Engine,
    hidden: &Tensor,
    projection: &Linear,
) -> candle_core::Result<Tensor> {
    let (rows, sequence, width) = hidden.dims3()?;
    let Linear { weight, bias } = projection;
    let teacher_width = weight.dim(0)?;
    let hidden = hidden.reshape((rows * sequence, width))?;
    engine.linear(&hidden, weight, bias)?.reshape((rows, sequence, teacher_width))
}
