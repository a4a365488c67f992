//! Why there is no report.

use std::io;
use std::path::PathBuf;

use atb_export::ExportError;
use atb_measurements::FileError;
use atb_predictor::PredictorFileError;
use atb_search::StoreError;

/// Why there is no report.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReportError {
    #[error("{} holds no finished run: it has no {missing}", folder.display())]
    #[diagnostic(help(
        "name the output folder of `atb run`; a run that was interrupted is finished by the same \
         command"
    ))]
    NoRun { folder: PathBuf, missing: &'static str },
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help("delete it and start the run again, which makes it anew"))]
    Content { path: PathBuf, problem: String },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] atb_files::FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Measurements(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Predictor(#[from] PredictorFileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Export(#[from] ExportError),
}
