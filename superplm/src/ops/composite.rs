//! The fused operations once more, of candle's own: for other devices, and as the measure
//! of the fused ones.
//!
//! candle's matrix products on a GPU take no rows with gaps between them, as a sub-model's
//! weights have them, so these are copied.

use candle_core::{D, Result, Tensor};

use super::LayerShape;
use crate::parameters::{LayerParameters, Linear, Norm};

/// Hidden states after a transformer layer and its attention scores, see
/// [`super::layer()`].
pub(super) fn layer(
    x: &Tensor,
    parameters: &LayerParameters<Tensor>,
    shape: &LayerShape,
    penalty: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let LayerShape { rows, sequence, heads, qkv, .. } = *shape;
    let dense = |x: &Tensor, layer: &Linear<Tensor>| linear(x, &layer.weight, &layer.bias);
    let normalise = |x: &Tensor, norm: &Norm<Tensor>| {
        layer_norm(x, &norm.weight, &norm.bias, shape.layer_norm_eps)
    };
    let split =
        |x: Tensor| x.reshape((rows, sequence, heads, qkv / heads))?.transpose(1, 2)?.contiguous();
    let query = (split(dense(x, &parameters.query)?)? * shape.scale())?;
    let key = split(dense(x, &parameters.key)?)?;
    let value = split(dense(x, &parameters.value)?)?;
    let scores = query.matmul(&key.t()?)?;
    let attended = masked_softmax(&scores, penalty)?.matmul(&value)?;
    let attended = attended.transpose(1, 2)?.reshape((rows * sequence, qkv))?;
    let attended = (dense(&attended, &parameters.attention_output)? + x)?;
    let attended = normalise(&attended, &parameters.attention_norm)?;
    let inner = dense(&attended, &parameters.intermediate)?.gelu_erf()?;
    let output = (dense(&inner, &parameters.output)? + attended)?;
    Ok((normalise(&output, &parameters.output_norm)?, scores))
}

pub(super) fn add3(x: &Tensor, y: &Tensor, z: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let period = z.dim(0)?;
    (x + y)?.reshape((rows / period, period, width))?.broadcast_add(z)?.reshape((rows, width))
}

pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)
}

pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.contiguous()?.matmul(&weight.contiguous()?.t()?)?.broadcast_add(bias)
}

fn masked_softmax(scores: &Tensor, penalty: &Tensor) -> Result<Tensor> {
    let scores = scores.broadcast_add(&penalty.unsqueeze(1)?.unsqueeze(1)?)?;
    let exponentials = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}

/// The difference of `a` and `b`, zero where `mask` drops a token or one of a pair.
fn masked_difference(a: &Tensor, b: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let kept = if a.rank() == 4 {
        mask.unsqueeze(2)?.broadcast_mul(&mask.unsqueeze(1)?)?.unsqueeze(1)?
    } else {
        mask.unsqueeze(2)?
    };
    (a - b)?.broadcast_mul(&kept)
}

pub(super) fn masked_squared_error(a: &Tensor, b: &Tensor, mask: &Tensor) -> Result<Tensor> {
    masked_difference(a, b, mask)?.sqr()?.sum_all()
}

pub(super) fn lookup(table: &Tensor, ids: &Tensor, length: usize) -> Result<Tensor> {
    table.index_select(ids, 0)?.narrow(1, 0, length)
}

pub(super) fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let normaliser = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let log_likelihood = shifted.gather(&labels.unsqueeze(1)?, 1)? - normaliser;
    log_likelihood?.sum_all()?.neg()
}
