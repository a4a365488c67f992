//! What can go wrong between a model folder and a score.

use std::path::PathBuf;

use atb_checkpoint::CheckpointError;
use atb_text::TextError;

/// Why a model could not be loaded, run, scored or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PlmError {
    /// a model folder that cannot be read
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// a file or folder that cannot be written
    #[error("cannot write {}: {message}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        message: String,
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
