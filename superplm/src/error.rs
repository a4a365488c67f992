//! What can go wrong between a model folder and a score.

use std::path::PathBuf;

use atb_checkpoint::CheckpointError;
use atb_text::TextError;

/// Why a model could not be loaded, run, scored or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlmError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{arch} does not fit into {whole}: {what} {wanted} is more than {available}")]
    DoesNotFit { arch: String, whole: String, what: String, wanted: usize, available: usize },
    #[error(transparent)]
    #[diagnostic(transparent)]
    TooHeavy(#[from] atb_space::TooHeavy),
    #[error("the batch does not suit the model: {what} {found} is more than {limit}")]
    Batch { what: &'static str, found: i64, limit: i64 },
    #[error("the SuperPLM cannot be scored against this teacher: {0}")]
    Teacher(String),
    #[error("nothing to score on: the batches hold no token")]
    NothingToScore,
    #[error("{} is cut short or damaged ({problem})", path.display())]
    #[diagnostic(help("copy the model folder again, or remove the file"))]
    Embeddings { path: PathBuf, problem: String },
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] atb_files::FileError),
    #[error("the SuperPLM has no head for masked language modelling (`cls.predictions.*`)")]
    #[diagnostic(help("train it by that objective, or score it by the KD loss"))]
    NoMlmHead,
    #[error("the loss of {arch} is {loss}: the weights hold values that are not finite")]
    NotFinite { arch: String, loss: f64 },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    #[error("tensor computation failed")]
    Tensor(#[from] candle_core::Error),
}
