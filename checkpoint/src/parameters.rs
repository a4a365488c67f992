//! The parameters of a BERT: their names and what each of their axes stands for.

use crate::BertConfig;

/// Learned elastic projection of the hidden states to the teacher's width.
pub const KD_PROJECTION: &str = "kd_projection.weight";

/// Bias of that projection, in models that have one.
pub const KD_PROJECTION_BIAS: &str = "kd_projection.bias";

/// The table of the vocabulary.
pub const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// First parameter of the MLM head; a file that has it has the whole head.
pub const MLM_TRANSFORM: &str = "cls.predictions.transform.dense.weight";

/// What an axis of a parameter stands for, hence how long it is and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Entries of the vocabulary; never cut.
    Vocabulary,
    /// Positions; never cut.
    Position,
    /// Token types; never cut.
    TokenType,
    /// Hidden size of the teacher; never cut.
    Teacher(usize),
    /// Labels of a head; never cut.
    Label(usize),
    /// Hidden size: its leading part.
    Hidden,
    /// Intermediate size of a layer: its leading part.
    Intermediate(usize),
    /// q|k|v of a layer: of its leading heads, the leading part of each.
    Qkv(usize),
}

impl Axis {
    /// Length of the axis in a model of that configuration.
    #[must_use]
    pub fn length(self, config: &BertConfig) -> usize {
        let arch = &config.architecture;
        match self {
            Self::Vocabulary => config.vocab_size,
            Self::Position => config.max_position_embeddings,
            Self::TokenType => config.type_vocab_size,
            Self::Teacher(length) | Self::Label(length) => length,
            Self::Hidden => arch.hidden(),
            Self::Intermediate(layer) => arch.layers()[layer].intermediate,
            Self::Qkv(layer) => arch.layers()[layer].qkv,
        }
    }
}

/// The shape of a parameter with these axes.
#[must_use]
pub fn shape(axes: &[Axis], config: &BertConfig) -> Vec<usize> {
    axes.iter().map(|axis| axis.length(config)).collect()
}

/// A kind of axis in the table of optional parameters; the file says how long those are
/// whose length the configuration does not tell.
#[derive(Clone, Copy)]
enum Kind {
    Vocabulary,
    Hidden,
    Teacher,
    Label,
}

/// Parameters that a model may have beside its encoder.
const OPTIONAL: &[(&str, &[Kind])] = &[
    ("pooler.dense.weight", &[Kind::Hidden, Kind::Hidden]),
    ("pooler.dense.bias", &[Kind::Hidden]),
    (MLM_TRANSFORM, &[Kind::Hidden, Kind::Hidden]),
    ("cls.predictions.transform.dense.bias", &[Kind::Hidden]),
    ("cls.predictions.transform.LayerNorm.weight", &[Kind::Hidden]),
    ("cls.predictions.transform.LayerNorm.bias", &[Kind::Hidden]),
    ("cls.predictions.bias", &[Kind::Vocabulary]),
    ("cls.seq_relationship.weight", &[Kind::Label, Kind::Hidden]),
    ("cls.seq_relationship.bias", &[Kind::Label]),
    (KD_PROJECTION, &[Kind::Teacher, Kind::Hidden]),
    (KD_PROJECTION_BIAS, &[Kind::Teacher]),
    ("classifier.weight", &[Kind::Label, Kind::Hidden]),
    ("classifier.bias", &[Kind::Label]),
    ("classifier.dense.weight", &[Kind::Hidden, Kind::Hidden]),
    ("classifier.dense.bias", &[Kind::Hidden]),
    ("classifier.out_proj.weight", &[Kind::Label, Kind::Hidden]),
    ("classifier.out_proj.bias", &[Kind::Label]),
    ("qa_outputs.weight", &[Kind::Label, Kind::Hidden]),
    ("qa_outputs.bias", &[Kind::Label]),
];

/// What the axes of the parameter `name` stand for; `None` if a BERT of that configuration
/// has no such parameter. `found`, its shape in a file, says how long the axes are that the
/// configuration does not tell.
///
/// ```
/// use atb_checkpoint::{Axis, BertConfig, axes};
///
/// let config = BertConfig::new("2-16-32-4-8".parse()?, 60);
/// let query = "encoder.layer.1.attention.self.query.weight";
/// assert_eq!(axes(query, &[8, 16], &config), Some(vec![Axis::Qkv(1), Axis::Hidden]));
/// let classifier = axes("classifier.weight", &[3, 16], &config);
/// assert_eq!(classifier, Some(vec![Axis::Label(3), Axis::Hidden]));
/// assert_eq!(axes("encoder.layer.2.output.dense.bias", &[16], &config), None);
/// # Ok::<(), atb_space::NotationError>(())
/// ```
#[must_use]
pub fn axes(name: &str, found: &[usize], config: &BertConfig) -> Option<Vec<Axis>> {
    if let Some((_, kinds)) = OPTIONAL.iter().find(|(optional, _)| *optional == name) {
        let first = found.first().copied().unwrap_or(0);
        let axis = |kind: &Kind| match kind {
            Kind::Vocabulary => Axis::Vocabulary,
            Kind::Hidden => Axis::Hidden,
            Kind::Teacher => Axis::Teacher(first),
            Kind::Label => Axis::Label(first),
        };
        return Some(kinds.iter().map(axis).collect());
    }
    let layer = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.'));
    let wanted = match layer {
        // One layer is searched, as each has the same names.
        Some((number, rest)) => {
            let layer: usize = number.parse().ok()?;
            if layer >= config.architecture.num_layers() || layer.to_string() != number {
                return None;
            }
            Some((layer, format!("encoder.layer.0.{rest}")))
        }
        None => None,
    };
    let sought = wanted.as_ref().map_or(name, |(_, name)| name);
    let mut axes = None;
    let search = Parameters::collect(1, false, |name, found| {
        if name == sought {
            axes = Some(found.to_vec());
        }
        Ok::<_, std::convert::Infallible>(())
    });
    search.ok()?;
    let layer = wanted.map_or(0, |(layer, _)| layer);
    let moved = |axis| match axis {
        Axis::Intermediate(_) => Axis::Intermediate(layer),
        Axis::Qkv(_) => Axis::Qkv(layer),
        other => other,
    };
    Some(axes?.into_iter().map(moved).collect())
}

/// Weight `[outputs, inputs]` and bias `[outputs]` of a linear layer.
#[derive(Clone, Debug)]
pub struct Linear<T> {
    /// `[outputs, inputs]`.
    pub weight: T,
    /// `[outputs]`.
    pub bias: T,
}

/// Weight and bias of a LayerNorm, each as long as the hidden size.
#[derive(Clone, Debug)]
pub struct Norm<T> {
    /// What the normalised values are multiplied by.
    pub weight: T,
    /// What is added then.
    pub bias: T,
}

/// The parameters of one transformer layer.
#[derive(Clone, Debug)]
pub struct LayerParameters<T> {
    /// Hidden states to queries.
    pub query: Linear<T>,
    /// Hidden states to keys.
    pub key: Linear<T>,
    /// Hidden states to values.
    pub value: Linear<T>,
    /// What the heads give, back to the hidden size.
    pub attention_output: Linear<T>,
    /// LayerNorm after attention.
    pub attention_norm: Norm<T>,
    /// Feed-forward block, first part.
    pub intermediate: Linear<T>,
    /// Feed-forward block, second part.
    pub output: Linear<T>,
    /// LayerNorm after the feed-forward block.
    pub output_norm: Norm<T>,
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
    ///
    /// # Errors
    /// The first that `map` gives.
    pub fn try_map<U, E>(&self, map: impl Fn(&T) -> Result<U, E>) -> Result<LayerParameters<U>, E> {
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
pub struct Parameters<T> {
    /// One row an entry of the vocabulary.
    pub word_embeddings: T,
    /// One row a position.
    pub position_embeddings: T,
    /// One row a token type.
    pub token_type_embeddings: T,
    /// LayerNorm of the sum of the three.
    pub embedding_norm: Norm<T>,
    /// The transformer layers, first to last.
    pub layers: Vec<LayerParameters<T>>,
    /// The view of the first token, where the model has one.
    pub pooler: Option<Linear<T>>,
}

impl<T> Parameters<T> {
    /// Asks `source` for every parameter, by its Hugging Face name and axes.
    ///
    /// This is the one list of names; loading, random weights, slicing and saving all go
    /// through it.
    ///
    /// # Errors
    /// The first that `source` gives.
    pub fn collect<E>(
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
pub struct MlmHead<T> {
    /// Before the LayerNorm and the decoder.
    pub transform: Linear<T>,
    /// LayerNorm after it.
    pub norm: Norm<T>,
    /// As long as the vocabulary.
    pub bias: T,
}

impl<T> MlmHead<T> {
    /// Asks `source` for every parameter of the head, as [`Parameters::collect`].
    ///
    /// # Errors
    /// The first that `source` gives.
    pub fn collect<E>(mut source: impl FnMut(&str, &[Axis]) -> Result<T, E>) -> Result<Self, E> {
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
