//! BERT's forward pass over the parameters of one architecture.
//!
//! Built from operations that all have gradients: candle's and those of [`crate::ops`].

use atb_space::{Architecture, Layer};
use candle_core::{DType, Device, Tensor};

use crate::ops::{self, Heads};
use crate::parameters::{LayerParameters, Linear, MlmHead, Norm, Parameters, Table};

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

impl Output {
    /// The values of the last hidden state and of the pooler's output, row by row.
    ///
    /// # Errors
    /// [`PlmError::Candle`](crate::PlmError) if a tensor cannot be read out.
    pub fn values(&self) -> std::result::Result<(Vec<f32>, Option<Vec<f32>>), crate::PlmError> {
        let read = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        Ok((read(&self.hidden)?, self.pooled.as_ref().map(read).transpose()?))
    }
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
    let norm =
        |x: &Tensor, norm: &Norm| ops::layer_norm(x, &norm.weight, &norm.bias, layer_norm_eps);
    let words = lookup(&parameters.word_embeddings, &batch.input_ids, hidden_size)?;
    let types = lookup(&parameters.token_type_embeddings, &batch.token_type_ids, hidden_size)?;
    let positions =
        parameters.position_embeddings.narrow(0, 0, sequence)?.narrow(1, 0, hidden_size)?;
    let mut hidden = norm(&ops::add3(&words, &types, &positions)?, &parameters.embedding_norm)?;

    let penalty = batch.mask.affine(-MASKED, MASKED)?;
    let mut scores = None;
    for (layer, shape) in parameters.layers.iter().zip(arch.layers()) {
        let shape = AttentionShape { rows, sequence, layer: *shape };
        let (attended, layer_scores) = attention(layer, &shape, &hidden, &penalty)?;
        let attended = add_linear(&hidden, &attended, &layer.attention_output)?;
        let attended = norm(&attended, &layer.attention_norm)?;
        let inner = ops::gelu(&linear(&attended, &layer.intermediate, 1.0)?)?;
        hidden = norm(&add_linear(&attended, &inner, &layer.output)?, &layer.output_norm)?;
        scores = Some(layer_scores);
    }
    let attention_scores =
        scores.ok_or_else(|| candle_core::Error::msg("an architecture without layers"))?;

    let hidden = hidden.reshape((rows, sequence, hidden_size))?;
    let pooled = match &parameters.pooler {
        Some(pooler) => {
            let first = hidden.narrow(1, 0, 1)?.squeeze(1)?;
            Some(linear(&first, pooler, 1.0)?.tanh()?)
        }
        None => None,
    };
    Ok(Output { hidden, attention_scores, pooled })
}

/// Rows of an embedding table, `[ids, hidden_size]`. Cut after the look-up: cutting the
/// table first would copy all of it.
fn lookup(table: &Table, ids: &Tensor, hidden_size: usize) -> Result<Tensor> {
    ops::lookup(&table.tensor, ids, hidden_size, table.gradient.as_ref())
}

/// What masked tokens are predicted to be, `[positions, vocabulary]` logits.
///
/// `hidden` is `[batch, sequence, hidden]`, `positions` (i64) index `[batch * sequence]`,
/// and `decoder` is the word embeddings' share, `[vocabulary, hidden]`.
pub(crate) fn predict_masked(
    head: &MlmHead,
    decoder: &Tensor,
    layer_norm_eps: f64,
    hidden: &Tensor,
    positions: &Tensor,
) -> Result<Tensor> {
    let (rows, sequence, width) = hidden.dims3()?;
    let hidden = hidden.reshape((rows * sequence, width))?;
    let hidden = ops::lookup(&hidden, positions, width, None)?;
    let hidden = ops::gelu(&linear(&hidden, &head.transform, 1.0)?)?;
    let hidden = ops::layer_norm(&hidden, &head.norm.weight, &head.norm.bias, layer_norm_eps)?;
    ops::linear(&hidden, decoder, &head.bias, 1.0)
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
    let split = Heads { rows, sequence, heads, head_size: qkv / heads };
    // Scaling the queries scales the scores, which are many more.
    let scale = 1.0 / (split.head_size as f64).sqrt();
    let query = split.split(&linear(hidden, &layer.query, scale)?)?;
    let key = split.split_transposed(&linear(hidden, &layer.key, 1.0)?)?;
    let value = split.split(&linear(hidden, &layer.value, 1.0)?)?;
    let scores = ops::batched_product(&query, &key)?;
    let probabilities = ops::masked_softmax(&scores, penalty)?;
    let attended = split.merge(&ops::batched_product(&probabilities, &value)?)?;
    Ok((attended, scores))
}

/// `(x W^T + b) * scale` for `x` of `[rows, inputs]`.
fn linear(x: &Tensor, linear: &Linear, scale: f64) -> Result<Tensor> {
    ops::linear(x, &linear.weight, &linear.bias, scale)
}

/// `residual + x W^T + b`.
fn add_linear(residual: &Tensor, x: &Tensor, layer: &Linear) -> Result<Tensor> {
    linear(x, layer, 1.0)? + residual
}
