//! What can go wrong between text files and batches.

use std::path::PathBuf;

use atb_text::TextError;

/// Why text could not be prepared, or a dataset not be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DataError {
    /// nothing to prepare
    #[error("no text files given: training needs at least one")]
    NoInputs,
    /// a file that cannot be opened or read
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// a file or folder that cannot be written
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// a folder that is no dataset, or an unfinished one
    #[error("{} is not there: prepare the text again, what is already tokenized is kept", path.display())]
    Unfinished {
        /// The dataset's list of shards.
        path: PathBuf,
    },
    /// a file that is cut short, damaged or of another format
    #[error("{} is damaged ({problem}): delete it and prepare the text again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// a file of a newer version
    #[error("{} has schema {found}, this version reads up to {known}: update autotinybert", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest that this version reads.
        known: u32,
    },
    /// a text or vocabulary error, which names file and line
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
}
