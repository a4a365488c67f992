//! A transformer layer of candle's own operations.
//!
//! candle's matrix products on a GPU take no rows with gaps between them, as a sub-model's
//! weights have them, so these are copied.

use candle_core::{D, Result, Tensor};

use super::super::dropout::{Dropout, composite as drop_some};
use super::super::layer_norm::composite as layer_norm;
use super::super::linear::composite as linear;
use super::{LayerShape, Places};
use crate::parameters::{LayerParameters, Linear, Norm};

/// Hidden states after a transformer layer and its attention scores, see
/// [`super::fused`].
pub(super) fn layer(
    x: &Tensor,
    parameters: &LayerParameters<Tensor>,
    shape: &LayerShape,
    penalty: &Tensor,
    dropout: Dropout,
) -> Result<(Tensor, Tensor)> {
    let places = Places::of(dropout);
    let LayerShape { rows, sequence, asked, hidden, heads, qkv, .. } = *shape;
    let dense = |x: &Tensor, layer: &Linear<Tensor>| linear(x, &layer.weight, &layer.bias);
    let normalise = |x: &Tensor, norm: &Norm<Tensor>| {
        layer_norm(x, &norm.weight, &norm.bias, shape.layer_norm_eps)
    };
    let split = |x: Tensor, tokens: usize| {
        x.reshape((rows, tokens, heads, qkv / heads))?.transpose(1, 2)?.contiguous()
    };
    let key = split(dense(x, &parameters.key)?, sequence)?;
    let value = split(dense(x, &parameters.value)?, sequence)?;
    let x = match asked == sequence {
        true => x.clone(),
        false => {
            let first = x.reshape((rows, sequence, hidden))?.narrow(1, 0, asked)?;
            first.contiguous()?.reshape((rows * asked, hidden))?
        }
    };
    let query = (split(dense(&x, &parameters.query)?, asked)? * shape.scale())?;
    let scores = query.matmul(&key.t()?)?;
    let probabilities = drop_some(&masked_softmax(&scores, penalty)?, places.attention)?;
    let attended = probabilities.matmul(&value)?;
    let attended = attended.transpose(1, 2)?.reshape((rows * asked, qkv))?;
    let attended = dense(&attended, &parameters.attention_output)?;
    let attended = (drop_some(&attended, places.attention_output)? + x)?;
    let attended = normalise(&attended, &parameters.attention_norm)?;
    let inner = dense(&attended, &parameters.intermediate)?.gelu_erf()?;
    let output = dense(&inner, &parameters.output)?;
    let output = (drop_some(&output, places.output)? + attended)?;
    Ok((normalise(&output, &parameters.output_norm)?, scores))
}

fn masked_softmax(scores: &Tensor, penalty: &Tensor) -> Result<Tensor> {
    let scores = scores.broadcast_add(&penalty.unsqueeze(1)?.unsqueeze(1)?)?;
    let exponentials = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}
