//! BERT's forward pass over the parameters of one architecture.
//!
//! Built from candle operations that all have gradients.

use atb_space::{Architecture, Layer};
use candle_core::{D, DType, Device, Tensor};

use crate::parameters::{LayerParameters, Linear, Norm, Parameters};

type Result<T> = candle_core::Result<T>;

/// Added to the score of a token that is masked out.
const MASKED: f64 = -10_000.0;

/// A batch as tensors, on the CPU.
pub(crate) struct Batch {
    /// `[batch * sequence]`, i64.
    input_ids: Tensor,
    /// `[batch * sequence]`, i64.
    token_type_ids: Tensor,
    /// `[batch, sequence]`, f32: 1 for real tokens, 0 for padding.
    pub(crate) mask: Tensor,
}

impl Batch {
    pub(crate) fn new(encoded: &atb_text::Encoded) -> Result<Self> {
        let (shape, cpu) = ((encoded.batch, encoded.sequence), &Device::Cpu);
        let tokens = encoded.batch * encoded.sequence;
        Ok(Self {
            input_ids: Tensor::from_slice(&encoded.input_ids, tokens, cpu)?,
            token_type_ids: Tensor::from_slice(&encoded.token_type_ids, tokens, cpu)?,
            mask: Tensor::from_slice(&encoded.attention_mask, shape, cpu)?.to_dtype(DType::F32)?,
        })
    }
}

/// What a model makes of a batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// Hidden states of the last layer, `[batch, sequence, hidden]`.
    pub hidden: Tensor,
    /// Attention scores of the last layer, scaled, before mask and softmax,
    /// `[batch, heads, sequence, sequence]`.
    pub attention_scores: Tensor,
    /// The pooler's view of the first token, `[batch, hidden]`; `None` if the model has no
    /// pooler.
    pub pooled: Option<Tensor>,
}

/// Runs `parameters`, which are those of `arch` (embedding tables may be wider), on a batch.
pub(crate) fn forward(
    parameters: &Parameters,
    arch: &Architecture,
    layer_norm_eps: f64,
    batch: &Batch,
) -> Result<Output> {
    let (rows, sequence) = batch.mask.dims2()?;
    let hidden_size = arch.hidden();
    let words = lookup(&parameters.word_embeddings, &batch.input_ids, hidden_size)?;
    let types = lookup(&parameters.token_type_embeddings, &batch.token_type_ids, hidden_size)?;
    let positions =
        parameters.position_embeddings.narrow(0, 0, sequence)?.narrow(1, 0, hidden_size)?;
    let embedded = (words + types)?
        .reshape((rows, sequence, hidden_size))?
        .broadcast_add(&positions)?
        .reshape((rows * sequence, hidden_size))?;
    let mut hidden = layer_norm(&embedded, &parameters.embedding_norm, layer_norm_eps)?;

    let penalty = batch.mask.affine(-MASKED, MASKED)?.reshape((rows, 1, 1, sequence))?;
    let mut scores = None;
    for (layer, shape) in parameters.layers.iter().zip(arch.layers()) {
        let shape = AttentionShape { rows, sequence, layer: *shape };
        let (attended, layer_scores) = attention(layer, &shape, &hidden, &penalty)?;
        let attended = (linear(&attended, &layer.attention_output)? + &hidden)?;
        let attended = layer_norm(&attended, &layer.attention_norm, layer_norm_eps)?;
        let inner = linear(&attended, &layer.intermediate)?.gelu_erf()?;
        let output = (linear(&inner, &layer.output)? + attended)?;
        hidden = layer_norm(&output, &layer.output_norm, layer_norm_eps)?;
        scores = Some(layer_scores);
    }
    let attention_scores =
        scores.ok_or_else(|| candle_core::Error::msg("an architecture without layers"))?;

    let hidden = hidden.reshape((rows, sequence, hidden_size))?;
    let pooled = match &parameters.pooler {
        Some(pooler) => Some(linear(&hidden.narrow(1, 0, 1)?.squeeze(1)?, pooler)?.tanh()?),
        None => None,
    };
    Ok(Output { hidden, attention_scores, pooled })
}

/// Rows of an embedding table, `[ids, hidden_size]`. Cut after the look-up: cutting the
/// table first would copy all of it.
fn lookup(table: &Tensor, ids: &Tensor, hidden_size: usize) -> Result<Tensor> {
    table.index_select(ids, 0)?.narrow(1, 0, hidden_size)
}

struct AttentionShape {
    rows: usize,
    sequence: usize,
    layer: Layer,
}

/// The attended values `[rows * sequence, qkv]` and the scores before mask and softmax.
fn attention(
    layer: &LayerParameters,
    shape: &AttentionShape,
    hidden: &Tensor,
    penalty: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let AttentionShape { rows, sequence, layer: Layer { heads, qkv, .. } } = *shape;
    let head_size = qkv / heads;
    let by_head = |projection: &Linear| {
        linear(hidden, projection)?
            .reshape((rows, sequence, heads, head_size))?
            .transpose(1, 2)?
            .contiguous()
    };
    let (query, key, value) =
        (by_head(&layer.query)?, by_head(&layer.key)?, by_head(&layer.value)?);
    let scores = (query.matmul(&key.t()?)? * (1.0 / (head_size as f64).sqrt()))?;
    let probabilities = softmax(&scores.broadcast_add(penalty)?)?;
    let attended =
        probabilities.matmul(&value)?.transpose(1, 2)?.reshape((rows * sequence, qkv))?;
    Ok((attended, scores))
}

/// `x W^T + b` for `x` of `[rows, inputs]`.
fn linear(x: &Tensor, linear: &Linear) -> Result<Tensor> {
    x.matmul(&linear.weight.t()?)?.broadcast_add(&linear.bias)
}

fn layer_norm(x: &Tensor, norm: &Norm, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred
        .broadcast_div(&(variance + eps)?.sqrt()?)?
        .broadcast_mul(&norm.weight)?
        .broadcast_add(&norm.bias)
}

/// Softmax over the last axis.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    let exponentials = shifted.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}
