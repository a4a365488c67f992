//! Latency predictors fitted on measurements.
//!
//! A [`Predictor`] says what an architecture's latency on a device will be (or its memory, or
//! its load time), with an interval and a breakdown by part. It is fitted on a few dozen
//! measured architectures; its file carries what it was fitted on and what it is worth on
//! architectures it has not seen. The model is [`Structured`]: non-negative least
//! squares in relative error on features that count what an encoder computes.
//!
//! ```
//! use atb_measurements::MeasurementFile;
//! use atb_predictor::{FitSettings, Observations, Predictor};
//! use atb_space::Space;
//!
//! let measured = MeasurementFile::read("../examples/measurements.jsonl".as_ref())?;
//! let observations = Observations::from_file(&measured)?;
//! let predictor = Predictor::fit(&observations, &Space::paper_kd(), &FitSettings::default())?;
//! println!("cross-validated error: {:.1} %", 100.0 * predictor.validation.metrics.mape);
//!
//! let prediction = predictor.predict(&"5-564-1024-12-528".parse()?);
//! assert!(prediction.low <= prediction.value && prediction.value <= prediction.high);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod calibrate;
pub mod design;
mod error;
mod evaluation;
mod features;
mod file;
mod fit;
mod kinds;
mod linear;
mod metrics;
mod model;
mod nnls;
mod observation;
mod predictor;
mod refine;
mod validation;

pub use error::{FitError, UnknownKind, one_workload};
pub use evaluation::{Evaluation, EvaluationError};
pub use features::{Machine, Machines};
pub use file::PredictorFileError;
pub use fit::{FEWEST, FitSettings};
pub use kinds::*;
pub use linear::Cholesky;
pub use metrics::Metrics;
pub use model::{Breakdown, Fit, Model, Rows};
pub use nnls::nnls;
pub use observation::{NoiseFloor, Observation, ObservationError, Observations, Source};
pub use predictor::{
    Baseline, CONFIDENCE_LEVEL, LeftOut, PredictError, Prediction, Predictor, SCHEMA,
};
pub use refine::{RefineError, RefineSettings, Refined, Round, refine};
pub use validation::{LeftOutPrediction, Residuals, Validation, cross_validate};
