//! What can end the main job.

use std::io;
use std::path::PathBuf;

use atb_export::ExportError;
use atb_fetch::FetchError;
use atb_measurements::FileError;
use atb_predictor::{EvaluationError, FitError, ObservationError, PredictorFileError};
use atb_profiler::ProfileError;
use atb_runtime::ModelError;
use atb_search::{SearchError, StoreError};
use atb_settings::{OutOfRange, SettingsError};
use atb_space::SpaceError;
use atb_superplm::{DataError, PlmError, TrainError};
use atb_targets::TargetError;
use atb_tasks::TaskError;
use atb_text::TextError;

/// Why the main job, or one of its steps, could not be done.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PipelineError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error("{key} is {value}; expected {expected}")]
    Setting {
        key: &'static str,
        value: String,
        expected: &'static str,
        #[help]
        hint: Option<&'static str>,
    },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] atb_files::FileError),
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help("delete it; the run makes it again"))]
    Content { path: PathBuf, problem: String },
    #[error("there is no {figure}: {reason}")]
    #[diagnostic(help(
        "measure again; a model that overflows or a device that fails gives no time"
    ))]
    NoFigure { figure: String, reason: String },
    #[error("the engines' outputs differ by {difference:.1e}, more than the tolerance {tolerance:.0e}; the bundle in {} is not fit for use", bundle.display())]
    Parity { bundle: PathBuf, difference: f32, tolerance: f32 },
    #[error("{} is there already and was not made by this run", path.display())]
    #[diagnostic(help("choose another output folder"))]
    Foreign { path: PathBuf },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Measurements(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Observations(#[from] ObservationError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Evaluation(#[from] EvaluationError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Predictor(#[from] PredictorFileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Space(#[from] SpaceError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    SuperPlm(#[from] PlmError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
}
