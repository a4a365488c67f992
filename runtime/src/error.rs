//! Why a bundle gives no answer.

use atb_bundle::BundleError;
use atb_text::TextError;

use crate::session::SessionError;
use crate::spans::WindowError;

/// Why a bundle could not be opened or run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ModelError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Window(#[from] WindowError),
    #[error("{model}: its vocabulary has {entries} entries, but the model knows {words} words")]
    #[diagnostic(help("a part of another bundle has got in; copy the whole bundle again"))]
    Vocabulary { model: String, entries: usize, words: usize },
    #[error("{model} names {labels} labels, but the model tells {width} apart")]
    #[diagnostic(help("a part of another bundle has got in; copy the whole bundle again"))]
    Labels { model: String, labels: usize, width: usize },
    #[error("the call was cancelled")]
    Cancelled,
}

/// What kind of failure a [`ModelError`] is, for bindings and whoever decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bundle is missing, damaged, of a newer version, or none.
    Bundle,
    /// The model does not give what it was asked for.
    Task,
    /// An argument is of no use.
    Argument,
    /// The call was cancelled.
    Cancelled,
    /// The model failed to run.
    Failed,
}

impl ModelError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bundle(_) | Self::Vocabulary { .. } | Self::Labels { .. } => ErrorKind::Bundle,
            Self::Text(error) => match error {
                TextError::SequenceTooShort { .. }
                | TextError::EmptyBatch
                | TextError::Tokenize { .. } => ErrorKind::Failed,
                _ => ErrorKind::Bundle,
            },
            Self::Session(error) => match error {
                SessionError::NoOutput { .. } => ErrorKind::Task,
                SessionError::Io(_)
                | SessionError::Load { .. }
                | SessionError::Interface { .. } => ErrorKind::Bundle,
                _ => ErrorKind::Failed,
            },
            Self::Window(_) => ErrorKind::Argument,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}
