//! AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization"), in place.

use std::sync::Arc;

use crate::vectorised::vectorised;
use candle_core::{CpuStorage, D, InplaceOp1, Layout, Tensor, Var};
use rayon::prelude::*;

use crate::ops::{Rows, Sum, Touched, Used};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-6;

/// Values that one task updates.
const TASK: usize = 1 << 15;

/// First and second moment of a parameter's gradient.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
}

impl Moments {
    pub(super) fn new(length: usize) -> Self {
        Self { first: vec![0.0; length], second: vec![0.0; length] }
    }
}

/// Gradient and moments of a parameter as candle's tensors, on its device.
#[derive(Debug)]
pub(super) struct Dense {
    /// The sum of the gradients since the last update.
    pub(super) gradient: Option<Tensor>,
    /// What of the parameter was used since the last update.
    pub(super) used: Arc<Used>,
    pub(super) first: Tensor,
    pub(super) second: Tensor,
}

impl Dense {
    pub(super) fn new(var: &Var) -> candle_core::Result<Self> {
        let (first, second) = (var.zeros_like()?, var.zeros_like()?);
        Ok(Self { gradient: None, used: Arc::default(), first, second })
    }

    pub(super) fn add_gradient(&mut self, gradient: &Tensor) -> candle_core::Result<()> {
        // candle keeps what a gradient was computed from with it.
        let gradient = gradient.detach();
        self.gradient = Some(match self.gradient.take() {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        });
        Ok(())
    }

    /// The sum of the gradient's squared values, a scalar; `None` without a gradient.
    pub(super) fn squared_norm(&self) -> candle_core::Result<Option<Tensor>> {
        let square = |gradient: &Tensor| gradient.sqr()?.sum(D::Minus1)?.sum_all();
        self.gradient.as_ref().map(square).transpose()
    }

    /// The update that [`AdamW`] makes, by candle's operations.
    pub(super) fn update(&mut self, var: &Var, update: &Update) -> candle_core::Result<()> {
        let used = self.used.take();
        let Some(gradient) = self.gradient.take() else { return Ok(()) };
        let (beta_1, beta_2) = (BETA_1 as f32, BETA_2 as f32);
        let times = |tensor: &Tensor, factor: f32| tensor.affine(f64::from(factor), 0.0);
        let weights = var.as_detached_tensor();
        let gradient = times(&gradient, update.scale)?;
        let first = (times(&self.first, beta_1)? + times(&gradient, 1.0 - beta_1)?)?;
        let second = (times(&self.second, beta_2)? + times(&gradient.sqr()?, 1.0 - beta_2)?)?;
        let deviation = (times(&second, update.second_correction)?.sqrt()? + EPSILON)?;
        let direction = (times(&first, update.first_correction)? / deviation)?;
        let change = times(&direction, update.learning_rate)? + times(&weights, update.decay)?;
        let updated = (&weights - change?)?;
        let [updated, first, second] = match used {
            Rows::Nothing => return Ok(()),
            Rows::Everything => [updated, first, second],
            Rows::LookedUp(counts) => {
                let used = counts.gt(0.0_f32)?.broadcast_as(weights.shape())?;
                [
                    used.where_cond(&updated, &weights)?,
                    used.where_cond(&first, &self.first)?,
                    used.where_cond(&second, &self.second)?,
                ]
            }
        };
        (self.first, self.second) = (first, second);
        var.set(&updated)
    }
}

/// The numbers of one update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    learning_rate: f32,
    decay: f32,
    /// Factor of the gradient (clipping).
    scale: f32,
    first_correction: f32,
    second_correction: f32,
}

impl Update {
    /// The update of a step, counted from 0.
    pub(crate) fn new(step: u64, learning_rate: f64, weight_decay: f64, scale: f64) -> Self {
        let correction = |beta: f64| 1.0 / (1.0 - beta.powf((step + 1) as f64));
        Self {
            learning_rate: learning_rate as f32,
            decay: (learning_rate * weight_decay) as f32,
            scale: scale as f32,
            first_correction: correction(BETA_1) as f32,
            second_correction: correction(BETA_2) as f32,
        }
    }

    pub(super) fn without_decay(self) -> Self {
        Self { decay: 0.0, ..self }
    }

    fn run(
        &self,
        weights: &mut [f32],
        gradient: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        vectorised! {
            fn run(
                update: &Update,
                weights: &mut [f32],
                gradient: &mut [f32],
                first: &mut [f32],
                second: &mut [f32],
            ) {
                let (beta_1, beta_2) = (BETA_1 as f32, BETA_2 as f32);
                let values = weights.iter_mut().zip(gradient).zip(first).zip(second);
                for (((weight, gradient), first), second) in values {
                    let g = *gradient * update.scale;
                    *gradient = 0.0;
                    *first = beta_1 * *first + (1.0 - beta_1) * g;
                    *second = beta_2 * *second + (1.0 - beta_2) * g * g;
                    let direction = *first * update.first_correction
                        / ((*second * update.second_correction).sqrt() + EPSILON as f32);
                    *weight -= update.learning_rate * direction + update.decay * *weight;
                }
            }
        }
        run(self, weights, gradient, first, second);
    }
}

/// One update of a parameter, after which its gradient is zero again.
///
/// A parameter that got no gradient at all in the step stays as it is, decay included. So do
/// single rows of a table of which only rows were used (lazy updates): their moments wait
/// for their next gradient instead of fading in every step. A row that is used in every
/// step is updated exactly as by dense AdamW.
pub(super) struct AdamW<'a> {
    pub(super) update: Update,
    /// Values a row.
    pub(super) width: usize,
    pub(super) state: std::sync::Mutex<(&'a mut Sum, &'a mut Moments)>,
}

impl InplaceOp1 for AdamW<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, weights: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let range = layout.contiguous_offsets();
        let (CpuStorage::F32(weights), Some((start, end))) = (weights, range) else {
            candle_core::bail!("AdamW updates contiguous f32 parameters");
        };
        let weights = &mut weights[start..end];
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (sum, moments) = &mut *state;
        let Moments { first, second } = &mut **moments;
        match std::mem::replace(&mut sum.touched, Touched::Nothing) {
            Touched::Nothing => {}
            Touched::Everything => weights
                .par_chunks_mut(TASK)
                .zip(sum.values.par_chunks_mut(TASK))
                .zip(first.par_chunks_mut(TASK))
                .zip(second.par_chunks_mut(TASK))
                .for_each(|(((weights, gradient), first), second)| {
                    self.update.run(weights, gradient, first, second);
                }),
            Touched::Rows(mut rows) => {
                rows.sort_unstable();
                rows.dedup();
                for row in rows {
                    let range = row as usize * self.width..(row as usize + 1) * self.width;
                    self.update.run(
                        &mut weights[range.clone()],
                        &mut sum.values[range.clone()],
                        &mut first[range.clone()],
                        &mut second[range],
                    );
                }
            }
        }
        Ok(())
    }
}
