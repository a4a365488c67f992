//! What can go wrong between text files and batches.

use std::path::PathBuf;

use atb_files::FileError;
use atb_text::TextError;

/// Why text could not be tokenized, or a dataset not be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DataError {
    #[error("no text files given")]
    #[diagnostic(help("training needs at least one"))]
    NoInputs,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{} is not there", path.display())]
    #[diagnostic(help("tokenize the text again; what is already tokenized is kept"))]
    Unfinished { path: PathBuf },
    #[error("{} is damaged: {problem}", path.display())]
    #[diagnostic(help("delete it and tokenize the text again"))]
    Corrupt { path: PathBuf, problem: String },
    #[error("{} is of a former version's format", path.display())]
    #[diagnostic(help("tokenize the text again, as `atb train` does by itself"))]
    FormerSchema { path: PathBuf },
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
}
