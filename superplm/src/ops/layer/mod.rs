//! A transformer layer as one operation.
//!
//! It reads the weights where the whole parameters lie, adds their gradients there, and
//! keeps for the backward pass no more than that needs, in buffers that are used again.

mod attention;
mod backward;
mod composite;
mod forward;
mod softmax;
mod weights;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::dropout::Dropout;
use super::engine::{Engine, Form};
use super::operands::{shaped, values, with_values};
use super::scratch::Scratch;
use super::share::{InPlace, Share};
use crate::parameters::LayerParameters;
use forward::Saved;

/// The sizes that a layer works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerShape {
    /// Sequences.
    pub(crate) rows: usize,
    /// Tokens per sequence.
    pub(crate) sequence: usize,
    /// Tokens per sequence whose states after the layer are asked for, from the first on.
    pub(crate) asked: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) heads: usize,
    /// Total width of each of q, k and v.
    pub(crate) qkv: usize,
    /// Added to the variance in LayerNorm.
    pub(crate) layer_norm_eps: f64,
}

impl LayerShape {
    fn tokens(&self) -> usize {
        self.rows * self.sequence
    }

    fn asked_tokens(&self) -> usize {
        self.rows * self.asked
    }

    fn head_size(&self) -> usize {
        self.qkv / self.heads
    }

    /// Values of the hidden states before the layer.
    fn states(&self) -> usize {
        self.tokens() * self.hidden
    }

    /// Values of the hidden states after it.
    fn asked_states(&self) -> usize {
        self.asked_tokens() * self.hidden
    }

    /// Values of the attention scores.
    fn scores(&self) -> usize {
        self.rows * self.heads * self.asked * self.sequence
    }

    /// What the scores are multiplied by.
    pub(super) fn scale(&self) -> f64 {
        1.0 / (self.head_size() as f64).sqrt()
    }
}

impl Engine {
    /// Hidden states after a layer, `[rows * asked, hidden]`, and, if they are asked for,
    /// its attention scores before mask and softmax, `[rows, heads, asked, sequence]`.
    ///
    /// `x` is `[rows * sequence, hidden]`, `penalty`, added to the scores of each key,
    /// `[rows, sequence]`. Attention's probabilities and what is added to the residuals lose some
    /// values to `dropout`.
    pub(crate) fn layer(
        &self,
        x: &Tensor,
        parameters: &LayerParameters<Share>,
        shape: LayerShape,
        penalty: &Tensor,
        with_scores: bool,
        dropout: Dropout,
    ) -> Result<(Tensor, Option<Tensor>)> {
        match self.form {
            Form::Fused => {
                let parameters = parameters.try_map(Share::in_place)?;
                fused(x, parameters, shape, penalty, with_scores, dropout, &self.scratch)
            }
            Form::Composite => {
                let parameters = parameters.try_map(Share::tensor)?;
                let (hidden, scores) = composite::layer(x, &parameters, &shape, penalty, dropout)?;
                Ok((hidden, with_scores.then_some(scores)))
            }
        }
    }
}

fn fused(
    x: &Tensor,
    parameters: LayerParameters<InPlace>,
    shape: LayerShape,
    penalty: &Tensor,
    with_scores: bool,
    dropout: Dropout,
    scratch: &Scratch,
) -> Result<(Tensor, Option<Tensor>)> {
    let operation = LayerOp {
        parameters,
        shape,
        penalty: penalty.flatten_all()?.to_vec1()?,
        with_scores,
        dropout: Places::of(dropout),
        scratch: scratch.clone(),
        saved: Mutex::new(None),
    };
    // One tensor with both, hidden states first: an operation has one result.
    let both = x.contiguous()?.apply_op1(operation)?;
    let LayerShape { rows, sequence, asked, hidden, heads, .. } = shape;
    if !with_scores {
        return Ok((both.reshape((shape.asked_tokens(), hidden))?, None));
    }
    let states = both.narrow(0, 0, shape.asked_states())?;
    let scores = both.narrow(0, shape.asked_states(), shape.scores())?;
    let scores = scores.reshape((rows, heads, asked, sequence))?;
    Ok((states.reshape((shape.asked_tokens(), hidden))?, Some(scores)))
}

/// Dropout in the places of a layer that have one.
#[derive(Clone, Copy)]
struct Places {
    /// Of attention's probabilities.
    attention: Dropout,
    /// Of what the attention block adds to its residual.
    attention_output: Dropout,
    /// Of what the feed-forward block adds to its residual.
    output: Dropout,
}

impl Places {
    fn of(dropout: Dropout) -> Self {
        let [attention, attention_output, output] = [0, 1, 2].map(|place| dropout.at(place));
        Self { attention, attention_output, output }
    }
}

struct LayerOp {
    parameters: LayerParameters<InPlace>,
    shape: LayerShape,
    penalty: Vec<f32>,
    with_scores: bool,
    dropout: Places,
    scratch: Scratch,
    /// From the forward to the backward pass, if there is to be one.
    saved: Mutex<Option<Saved>>,
}

impl CustomOp1 for LayerOp {
    fn name(&self) -> &'static str {
        "transformer-layer"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        if x.len() != self.shape.states() {
            candle_core::bail!("{} values are not those of {:?}", x.len(), self.shape);
        }
        let trained = self.parameters.query.weight.gradient.is_some();
        let (output, saved) = self.forward(x)?;
        if trained {
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        }
        let length = output.len();
        Ok((CpuStorage::F32(output), Shape::from(length)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(saved) = saved else {
            candle_core::bail!("a layer has one backward pass, and only if it is trained");
        };
        let output = with_values(x, |x| with_values(grad, |grad| self.backward(x, grad, saved)))???;
        Ok(Some(shaped(output, x)?))
    }
}

#[cfg(test)]
mod tests;
