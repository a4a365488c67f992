//! What can go wrong between a model folder and a score.

use std::path::PathBuf;

use atb_text::TextError;

/// Why a model could not be loaded, run, scored or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PlmError {
    /// a file that cannot be opened or read
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// a file or folder that cannot be written
    #[error("cannot write {}: {message}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// a `config.json` that is not a JSON object
    #[error("{}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// a key of `config.json` that is missing or not what it should be
    #[error("{}: `{key}` {problem}", path.display())]
    ConfigKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// a folder without weights
    #[error(
        "{} holds neither model.safetensors nor pytorch_model.bin: put the model's weights there",
        folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// a weights file that is cut short, damaged or of another format
    #[error("{} is cut short or damaged ({message}): {remedy}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        message: String,
        /// What to do.
        remedy: &'static str,
    },
    /// a tensor that the architecture needs and the file does not have
    #[error("{} has no tensor `{name}`{}", path.display(), needed(expected))]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's Hugging Face name.
        name: String,
        /// The shape that the configuration implies, where it is known.
        expected: Option<Vec<usize>>,
    },
    /// a tensor of another shape than the configuration implies
    #[error(
        "{}: tensor `{name}` has shape {found:?} where config.json implies {expected:?}",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's Hugging Face name.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// a weight tensor that is not of floating-point type
    #[error("{}: tensor `{name}` is of type {found}, expected f32, f16, bf16 or f64", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor's Hugging Face name.
        name: String,
        /// Its type.
        found: String,
    },
    /// a vocabulary that does not belong to the weights
    #[error(
        "{}: the vocabulary has {entries} entries, config.json says vocab_size {vocab_size}; \
         use the vocab.txt that came with the weights",
        folder.display()
    )]
    VocabularySize {
        /// The model folder.
        folder: PathBuf,
        /// Entries of the vocabulary.
        entries: usize,
        /// `vocab_size` of the configuration.
        vocab_size: usize,
    },
    /// an architecture that is larger than the model in some size
    #[error("{arch} does not fit into {whole}: {what} {wanted} is more than {available}")]
    DoesNotFit {
        /// The architecture asked for.
        arch: String,
        /// The whole model's architecture.
        whole: String,
        /// Which size, with its layer.
        what: String,
        /// What is asked for.
        wanted: usize,
        /// What the model has.
        available: usize,
    },
    /// a batch that the model cannot take
    #[error("the batch does not suit the model: {what} {found} is more than {limit}")]
    Batch {
        /// Which value.
        what: &'static str,
        /// The value found.
        found: i64,
        /// The largest that the model takes.
        limit: i64,
    },
    /// a student and a teacher that cannot be compared
    #[error("the SuperPLM cannot be scored against this teacher: {0}")]
    Teacher(String),
    /// no token to score on
    #[error("nothing to score on: the batches hold no token")]
    NothingToScore,
    /// a model that cannot predict masked tokens
    #[error(
        "the SuperPLM has no head for masked language modelling (tensors `cls.predictions.*`): \
         train it by that objective, or score it by the KD loss"
    )]
    NoMlmHead,
    /// a loss that is not a number
    #[error("the loss of {arch} is {loss}: the weights hold values that are not finite")]
    NotFinite {
        /// The architecture.
        arch: String,
        /// The loss.
        loss: f64,
    },
    /// an output folder that already has something in it
    #[error("{} already exists and is not empty: remove it or choose another folder", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// a vocabulary or text error
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    /// an error of the tensor library: a defect, or memory that ran out
    #[error("tensor computation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn needed(expected: &Option<Vec<usize>>) -> String {
    match expected {
        Some(shape) => format!(" (config.json implies one of shape {shape:?})"),
        None => String::new(),
    }
}
