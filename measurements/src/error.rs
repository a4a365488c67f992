//! What can be wrong with a measurement file.

use std::path::PathBuf;

use atb_settings::OutOfRange;

use crate::SampleError;

/// Why a measurement file could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] atb_files::FileError),
    #[error("{}: line 1: {problem}", path.display())]
    #[diagnostic(help("the file was not written by `atb profile`: measure again"))]
    Header { path: PathBuf, problem: OutOfRange },
    #[error("{}: line {line}: {problem}", path.display())]
    #[diagnostic(help("delete that line to go on without it"))]
    Samples { path: PathBuf, line: usize, problem: SampleError },
    #[error("{} holds no measurement", path.display())]
    #[diagnostic(help("run `atb profile` to its end"))]
    Empty { path: PathBuf },
    #[error("{}: was measured with another {what} ({there}, now {here})", path.display())]
    #[diagnostic(help("choose another file, or move this one away"))]
    OtherContext { path: PathBuf, what: String, there: String, here: String },
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        Self::File(error.into())
    }
}
