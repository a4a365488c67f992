//! What can end the main job.

use std::io;
use std::path::PathBuf;

use atb_export::ExportError;
use atb_fetch::FetchError;
use atb_measurements::FileError;
use atb_predictor::{EvaluationError, FitError, ObservationError, PredictorFileError};
use atb_profiler::ProfileError;
use atb_search::{SearchError, StoreError};
use atb_settings::{OutOfRange, SettingsError};
use atb_space::SpaceError;
use atb_superplm::{DataError, PlmError, TrainError};
use atb_targets::TargetError;
use atb_text::TextError;

/// Why the main job, or one of its steps, could not be done.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PipelineError {
    /// a configuration is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Settings(#[from] SettingsError),
    /// settings outside of their ranges
    #[error(transparent)]
    #[diagnostic(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// a setting that makes no sense
    #[error("{key} is {value}; expected {expected}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would make sense.
        expected: &'static str,
        /// What to do, where that does not go without saying.
        #[help]
        hint: Option<&'static str>,
    },
    /// a file or folder that cannot be read or written
    #[error(transparent)]
    Io(#[from] io::Error),
    /// a file of the run that cannot be read
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help("delete it; the run makes it again"))]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// a figure that could not be computed
    #[error("there is no {figure}: {reason}")]
    #[diagnostic(help(
        "measure again; a model that overflows or a device that fails gives no time"
    ))]
    NoFigure {
        /// The figure.
        figure: String,
        /// Why it is not there.
        reason: String,
    },
    /// engines that disagree
    #[error("the engines' outputs differ by {difference:.1e}, more than the tolerance {tolerance:.0e}; the bundle in {} is not fit for use", bundle.display())]
    Parity {
        /// The bundle.
        bundle: PathBuf,
        /// The largest difference.
        difference: f32,
        /// The tolerance.
        tolerance: f32,
    },
    /// a folder that the run did not make
    #[error("{} is there already and was not made by this run", path.display())]
    #[diagnostic(help("choose another output folder"))]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// the target is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
    /// profiling failed
    #[error(transparent)]
    #[diagnostic(transparent)]
    Profile(#[from] ProfileError),
    /// a measurement file is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Measurements(#[from] FileError),
    /// measurements that do not go together
    #[error(transparent)]
    #[diagnostic(transparent)]
    Observations(#[from] ObservationError),
    /// the predictor could not be fitted
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fit(#[from] FitError),
    /// the predictor could not be evaluated
    #[error(transparent)]
    #[diagnostic(transparent)]
    Evaluation(#[from] EvaluationError),
    /// the predictor file is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Predictor(#[from] PredictorFileError),
    /// the space is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Space(#[from] SpaceError),
    /// the search failed
    #[error(transparent)]
    #[diagnostic(transparent)]
    Search(#[from] SearchError),
    /// the store of evaluations is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// the SuperPLM is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    SuperPlm(#[from] PlmError),
    /// text could not be prepared for training
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// the training was refused or had to stop
    #[error(transparent)]
    #[diagnostic(transparent)]
    Train(#[from] TrainError),
    /// a text is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    /// the export failed
    #[error(transparent)]
    #[diagnostic(transparent)]
    Export(#[from] ExportError),
    /// a third-party file is missing
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
}
