//! The parameters of a BERT: their names, what each of their axes stands for, and how a
//! sub-architecture's share is cut out of them.

use std::ops::Range;
use std::sync::Arc;

use atb_space::Architecture;
use candle_core::Tensor;

use crate::ops::{Gradient, InPlace, Part};
use crate::{BertConfig, PlmError};

/// Learned elastic projection of the hidden states to the teacher's width.
pub(crate) const KD_PROJECTION: &str = "kd_projection.weight";

/// The table of the vocabulary.
pub(crate) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// First parameter of the MLM head; a file that has it has the whole head.
pub(crate) const MLM_TRANSFORM: &str = "cls.predictions.transform.dense.weight";

/// What an axis of a parameter stands for, hence how long it is and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Entries of the vocabulary; never cut.
    Vocabulary,
    /// Positions; never cut.
    Position,
    /// Token types; never cut.
    TokenType,
    /// Hidden size of the teacher; never cut.
    Teacher(usize),
    /// Hidden size: its leading part.
    Hidden,
    /// Intermediate size of a layer: its leading part.
    Intermediate(usize),
    /// q|k|v of a layer: of its leading heads, the leading part of each.
    Qkv(usize),
}

impl Axis {
    /// Length of the axis in a model of that configuration.
    pub(crate) fn length(self, config: &BertConfig) -> usize {
        let arch = &config.architecture;
        match self {
            Self::Vocabulary => config.vocab_size,
            Self::Position => config.max_position_embeddings,
            Self::TokenType => config.type_vocab_size,
            Self::Teacher(width) => width,
            Self::Hidden => arch.hidden(),
            Self::Intermediate(layer) => arch.layers()[layer].intermediate,
            Self::Qkv(layer) => arch.layers()[layer].qkv,
        }
    }
}

/// The shape of a parameter with these axes.
pub(crate) fn shape(axes: &[Axis], config: &BertConfig) -> Vec<usize> {
    axes.iter().map(|axis| axis.length(config)).collect()
}

/// Weight `[outputs, inputs]` and bias `[outputs]` of a linear layer.
#[derive(Clone, Debug)]
pub(crate) struct Linear<T = Tensor> {
    pub(crate) weight: T,
    pub(crate) bias: T,
}

/// Weight and bias of a LayerNorm, each as long as the hidden size.
#[derive(Clone, Debug)]
pub(crate) struct Norm<T = Tensor> {
    pub(crate) weight: T,
    pub(crate) bias: T,
}

/// The parameters of one transformer layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerParameters<T = Tensor> {
    pub(crate) query: Linear<T>,
    pub(crate) key: Linear<T>,
    pub(crate) value: Linear<T>,
    pub(crate) attention_output: Linear<T>,
    pub(crate) attention_norm: Norm<T>,
    pub(crate) intermediate: Linear<T>,
    pub(crate) output: Linear<T>,
    pub(crate) output_norm: Norm<T>,
}

impl<T> Linear<T> {
    fn try_map<U, E>(&self, map: &impl Fn(&T) -> Result<U, E>) -> Result<Linear<U>, E> {
        Ok(Linear { weight: map(&self.weight)?, bias: map(&self.bias)? })
    }
}

impl<T> Norm<T> {
    fn try_map<U, E>(&self, map: &impl Fn(&T) -> Result<U, E>) -> Result<Norm<U>, E> {
        Ok(Norm { weight: map(&self.weight)?, bias: map(&self.bias)? })
    }
}

impl<T> LayerParameters<T> {
    /// The same parameters as another type.
    pub(crate) fn try_map<U, E>(
        &self,
        map: impl Fn(&T) -> Result<U, E>,
    ) -> Result<LayerParameters<U>, E> {
        Ok(LayerParameters {
            query: self.query.try_map(&map)?,
            key: self.key.try_map(&map)?,
            value: self.value.try_map(&map)?,
            attention_output: self.attention_output.try_map(&map)?,
            attention_norm: self.attention_norm.try_map(&map)?,
            intermediate: self.intermediate.try_map(&map)?,
            output: self.output.try_map(&map)?,
            output_norm: self.output_norm.try_map(&map)?,
        })
    }
}

/// The parameters of a BERT encoder, each a `T`.
pub(crate) struct Parameters<T = Tensor> {
    pub(crate) word_embeddings: T,
    pub(crate) position_embeddings: T,
    pub(crate) token_type_embeddings: T,
    pub(crate) embedding_norm: Norm<T>,
    pub(crate) layers: Vec<LayerParameters<T>>,
    pub(crate) pooler: Option<Linear<T>>,
}

impl<T> Parameters<T> {
    /// Asks `source` for every parameter, by its Hugging Face name and axes.
    ///
    /// This is the one list of names; loading, random weights, slicing and saving all go
    /// through it.
    pub(crate) fn collect<E>(
        num_layers: usize,
        pooler: bool,
        mut source: impl FnMut(&str, &[Axis]) -> Result<T, E>,
    ) -> Result<Self, E> {
        use Axis::{Hidden, Intermediate, Position, Qkv, TokenType, Vocabulary};
        let source = &mut source;
        Ok(Self {
            word_embeddings: source(WORD_EMBEDDINGS, &[Vocabulary, Hidden])?,
            position_embeddings: source(
                "embeddings.position_embeddings.weight",
                &[Position, Hidden],
            )?,
            token_type_embeddings: source(
                "embeddings.token_type_embeddings.weight",
                &[TokenType, Hidden],
            )?,
            embedding_norm: norm(source, "embeddings.LayerNorm")?,
            layers: (0..num_layers)
                .map(|i| {
                    let mut dense = |name: &str, outputs, inputs| {
                        linear(source, &format!("encoder.layer.{i}.{name}"), outputs, inputs)
                    };
                    let query = dense("attention.self.query", Qkv(i), Hidden)?;
                    let key = dense("attention.self.key", Qkv(i), Hidden)?;
                    let value = dense("attention.self.value", Qkv(i), Hidden)?;
                    let attention_output = dense("attention.output.dense", Hidden, Qkv(i))?;
                    let intermediate = dense("intermediate.dense", Intermediate(i), Hidden)?;
                    let output = dense("output.dense", Hidden, Intermediate(i))?;
                    let mut layer_norm =
                        |name: &str| norm(source, &format!("encoder.layer.{i}.{name}"));
                    Ok(LayerParameters {
                        query,
                        key,
                        value,
                        attention_output,
                        attention_norm: layer_norm("attention.output.LayerNorm")?,
                        intermediate,
                        output,
                        output_norm: layer_norm("output.LayerNorm")?,
                    })
                })
                .collect::<Result<_, E>>()?,
            pooler: if pooler {
                Some(linear(source, "pooler.dense", Hidden, Hidden)?)
            } else {
                None
            },
        })
    }
}

/// The head of masked language modelling: a transformation, then the decoder, whose
/// weights are those of the word embeddings.
pub(crate) struct MlmHead {
    pub(crate) transform: Linear,
    pub(crate) norm: Norm,
    /// As long as the vocabulary.
    pub(crate) bias: Tensor,
}

impl MlmHead {
    /// Asks `source` for every parameter of the head, as [`Parameters::collect`].
    pub(crate) fn collect<E>(
        mut source: impl FnMut(&str, &[Axis]) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        let source = &mut source;
        Ok(Self {
            transform: linear(
                source,
                "cls.predictions.transform.dense",
                Axis::Hidden,
                Axis::Hidden,
            )?,
            norm: norm(source, "cls.predictions.transform.LayerNorm")?,
            bias: source("cls.predictions.bias", &[Axis::Vocabulary])?,
        })
    }
}

fn linear<T, E>(
    source: &mut impl FnMut(&str, &[Axis]) -> Result<T, E>,
    name: &str,
    outputs: Axis,
    inputs: Axis,
) -> Result<Linear<T>, E> {
    Ok(Linear {
        weight: source(&format!("{name}.weight"), &[outputs, inputs])?,
        bias: source(&format!("{name}.bias"), &[outputs])?,
    })
}

fn norm<T, E>(
    source: &mut impl FnMut(&str, &[Axis]) -> Result<T, E>,
    name: &str,
) -> Result<Norm<T>, E> {
    Ok(Norm {
        weight: source(&format!("{name}.weight"), &[Axis::Hidden])?,
        bias: source(&format!("{name}.bias"), &[Axis::Hidden])?,
    })
}

/// Checks that every size of `arch` is at most the one of `whole`.
///
/// # Errors
/// [`PlmError::DoesNotFit`] naming the first size that is not.
pub(crate) fn check_fit(whole: &Architecture, arch: &Architecture) -> Result<(), PlmError> {
    let fit = |what: &str, layer: Option<usize>, wanted: usize, available: usize| {
        if wanted <= available {
            return Ok(());
        }
        let what = match layer {
            Some(layer) => format!("{what} of layer {layer}"),
            None => what.to_owned(),
        };
        Err(PlmError::DoesNotFit { arch: arch.id(), whole: whole.id(), what, wanted, available })
    };
    fit("the number of layers", None, arch.num_layers(), whole.num_layers())?;
    fit("the hidden size", None, arch.hidden(), whole.hidden())?;
    for (i, (sub, full)) in arch.layers().iter().zip(whole.layers()).enumerate() {
        fit("the intermediate size", Some(i), sub.intermediate, full.intermediate)?;
        fit("the number of attention heads", Some(i), sub.heads, full.heads)?;
        fit("the head size (q|k|v size / heads)", Some(i), sub.head_size(), full.head_size())?;
    }
    Ok(())
}

/// The share of `arch` in a parameter of `whole`: the leading part of each axis and, on
/// a q|k|v axis, the leading part of each of the leading heads.
///
/// This one rule is both of the paper's: heads of 64 of which the first are taken (MLM
/// space), and twelve heads each of which is made narrower (KD space). A view wherever
/// one exists; only heads that become narrower are copied. `arch` must fit.
pub(crate) fn slice(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
) -> Result<Tensor, candle_core::Error> {
    // A q|k|v axis becomes two, heads and their rows, where heads become narrower.
    let mut split = Vec::new();
    let mut take = Vec::new();
    let mut merged = Vec::new();
    for (axis, &length) in axes.iter().zip(tensor.dims()) {
        let kept = match *axis {
            Axis::Vocabulary | Axis::Position | Axis::TokenType | Axis::Teacher(_) => length,
            Axis::Hidden => arch.hidden(),
            Axis::Intermediate(layer) => arch.layers()[layer].intermediate,
            Axis::Qkv(layer) => {
                let (sub, full) = (arch.layers()[layer], whole.layers()[layer]);
                if sub.head_size() != full.head_size() {
                    split.extend([full.heads, full.head_size()]);
                    take.extend([sub.heads, sub.head_size()]);
                    merged.push(sub.qkv);
                    continue;
                }
                sub.qkv
            }
        };
        split.push(length);
        take.push(kept);
        merged.push(kept);
    }
    let mut part = tensor.clone();
    if split.len() != tensor.rank() {
        part = part.reshape(split.as_slice())?;
    }
    for (dim, (&kept, &length)) in take.iter().zip(&split).enumerate() {
        if kept != length {
            part = part.narrow(dim, 0, kept)?;
        }
    }
    if merged.len() != split.len() {
        part = part.reshape(merged)?;
    }
    Ok(part)
}

/// The same share as [`slice`], of a whole parameter that stays where it is.
pub(crate) fn share(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
    gradient: Option<Arc<Gradient>>,
) -> InPlace {
    let part = part(axes, tensor.dims(), whole, arch);
    let shape = match axes {
        [_] => vec![part.row_length()],
        _ => vec![part.rows.iter().map(Range::len).sum(), part.row_length()],
    };
    InPlace { whole: tensor.clone(), part, shape, gradient }
}

/// Rows and columns of a share.
fn part(axes: &[Axis], lengths: &[usize], whole: &Architecture, arch: &Architecture) -> Part {
    let kept = |axis: Axis, length: usize| -> Vec<Range<usize>> {
        match axis {
            Axis::Vocabulary | Axis::Position | Axis::TokenType | Axis::Teacher(_) => {
                std::iter::once(0..length).collect()
            }
            Axis::Hidden => std::iter::once(0..arch.hidden()).collect(),
            Axis::Intermediate(layer) => {
                std::iter::once(0..arch.layers()[layer].intermediate).collect()
            }
            Axis::Qkv(layer) => {
                let (sub, full) = (arch.layers()[layer], whole.layers()[layer]);
                let starts = (0..sub.heads).map(|head| head * full.head_size());
                starts.map(|start| start..start + sub.head_size()).collect()
            }
        }
    };
    match (axes, lengths) {
        ([rows, columns], [number, width]) => {
            Part { width: *width, rows: kept(*rows, *number), columns: kept(*columns, *width) }
        }
        _ => {
            let (axis, width) = (axes[0], lengths[0]);
            Part { width, rows: std::iter::once(0..1).collect(), columns: kept(axis, width) }
        }
    }
}
