//! BERT's forward pass over the parameters of one architecture.
//!
//! Built from the operations of an [`Engine`], which all have gradients.

use atb_space::{Architecture, Layer};
use candle_core::{DType, Device, Tensor};

use crate::ops::{Dropout, Engine, LayerShape, Share};
use crate::parameters::{Linear, MlmHead, Norm, Parameters};

type Result<T> = candle_core::Result<T>;

/// Added to the score of a token that is masked out.
const MASKED: f64 = -10_000.0;

/// A batch as tensors.
pub(crate) struct Batch {
    /// `[batch * sequence]`, i64.
    input_ids: Tensor,
    /// `[batch * sequence]`, i64.
    token_type_ids: Tensor,
    /// `[batch, sequence]`, f32: 1 for real tokens, 0 for padding.
    pub(crate) mask: Tensor,
}

impl Batch {
    /// The batch on a device.
    pub(crate) fn new(encoded: &atb_text::Encoded, device: &Device) -> Result<Self> {
        let shape = (encoded.batch, encoded.sequence);
        let tokens = encoded.batch * encoded.sequence;
        Ok(Self {
            input_ids: Tensor::from_slice(&encoded.input_ids, tokens, device)?,
            token_type_ids: Tensor::from_slice(&encoded.token_type_ids, tokens, device)?,
            mask: Tensor::from_slice(&encoded.attention_mask, shape, device)?
                .to_dtype(DType::F32)?,
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

/// Runs `parameters`, which are those of `arch`, on a batch.
pub(crate) fn forward(
    parameters: &Parameters<Share>,
    arch: &Architecture,
    layer_norm_eps: f64,
    batch: &Batch,
    engine: &Engine,
) -> Result<Output> {
    let pass =
        Pass { layer_norm_eps, dropout: Dropout::NONE, with_scores: true, first_only: false };
    let (hidden, attention_scores) = encode(parameters, arch, batch, engine, pass)?;
    let attention_scores = attention_scores
        .ok_or_else(|| candle_core::Error::msg("an architecture without layers"))?;
    let pooled = parameters.pooler.as_ref().map(|pooler| pool(pooler, &hidden, engine));
    Ok(Output { hidden, attention_scores, pooled: pooled.transpose()? })
}

/// How an encoder is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) layer_norm_eps: f64,
    /// Of the embeddings and within the layers.
    pub(crate) dropout: Dropout,
    /// Whether the attention scores of the last layer are asked for.
    pub(crate) with_scores: bool,
    /// Whether of the last layer only the first token's state is asked for.
    pub(crate) first_only: bool,
}

/// Hidden states of the last layer, `[batch, tokens, hidden]` of all tokens or the first, and its attention scores if
/// they are asked for.
pub(crate) fn encode(
    parameters: &Parameters<Share>,
    arch: &Architecture,
    batch: &Batch,
    engine: &Engine,
    pass: Pass,
) -> Result<(Tensor, Option<Tensor>)> {
    let Pass { layer_norm_eps, dropout, with_scores, first_only } = pass;
    let (rows, sequence) = batch.mask.dims2()?;
    let hidden = arch.hidden();
    let look_up = |table: &Share, ids: &Tensor| engine.lookup(table, ids, hidden);
    let words = look_up(&parameters.word_embeddings, &batch.input_ids)?;
    let types = look_up(&parameters.token_type_embeddings, &batch.token_type_ids)?;
    let numbers = Tensor::arange(0, sequence as i64, batch.mask.device())?;
    let positions = look_up(&parameters.position_embeddings, &numbers)?;
    let Norm { weight, bias } = &parameters.embedding_norm;
    let embedded = engine.add3(&words, &types, &positions)?;
    let mut states =
        engine.layer_norm(&embedded, &weight.tensor()?, &bias.tensor()?, layer_norm_eps)?;
    states = engine.dropout(&states, dropout.at(0))?;

    let penalty = batch.mask.affine(-MASKED, MASKED)?;
    let mut attention_scores = None;
    for (number, (layer, sizes)) in parameters.layers.iter().zip(arch.layers()).enumerate() {
        let Layer { intermediate, heads, qkv } = *sizes;
        let last = number + 1 == arch.num_layers();
        let shape = LayerShape {
            rows,
            sequence,
            asked: if first_only && last { 1 } else { sequence },
            hidden,
            intermediate,
            heads,
            qkv,
            layer_norm_eps,
        };
        let scores = with_scores && last;
        let dropout = dropout.at(1 + number as u64);
        (states, attention_scores) =
            engine.layer(&states, layer, shape, &penalty, scores, dropout)?;
    }
    let tokens = if first_only { 1 } else { sequence };
    Ok((states.reshape((rows, tokens, hidden))?, attention_scores))
}

/// The pooler's view of the first token, `[batch, hidden]`.
pub(crate) fn pool(pooler: &Linear<Share>, hidden: &Tensor, engine: &Engine) -> Result<Tensor> {
    let Linear { weight, bias } = pooler;
    let first = hidden.narrow(1, 0, 1)?.squeeze(1)?;
    engine.linear(&first, &weight.tensor()?, &bias.tensor()?)?.tanh()
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
    engine: &Engine,
) -> Result<Tensor> {
    let (rows, sequence, width) = hidden.dims3()?;
    let hidden = hidden.reshape((rows * sequence, width))?;
    let hidden = engine.rows(&hidden, positions)?;
    let Linear { weight, bias } = &head.transform;
    let hidden = engine.gelu(&engine.linear(&hidden, weight, bias)?)?;
    let hidden = engine.layer_norm(&hidden, &head.norm.weight, &head.norm.bias, layer_norm_eps)?;
    engine.linear(&hidden, decoder, &head.bias)
}
