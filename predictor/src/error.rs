//! Why no predictor could be fitted.

use atb_measurements::Quantity;
use atb_space::{Architecture, Workload};

use crate::observation::{Observation, Observations};

/// A kind of model that cannot be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UnknownKind {
    #[error("there is no model `{name}`")]
    #[diagnostic(help("the models are {known}"))]
    Unknown { name: String, known: String },
    #[error("the model `{name}` is no longer fitted: it never predicted better than `structured`")]
    #[diagnostic(help(
        "leave --model away; the benchmark `compare-predictors` compares the others with it"
    ))]
    Retired { name: String },
}

/// Why no predictor could be fitted.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FitError {
    #[error(
        "a predictor needs at least {needed} measured architectures of the space `{space}`, \
         found {found}{left_out}"
    )]
    #[diagnostic(help("measure more with `atb profile`"))]
    TooFew {
        needed: usize,
        space: String,
        found: usize,
        /// How many are not in the space, in words, or nothing.
        left_out: String,
    },
    #[error("calibration needs at least {needed} measured architectures, found {found}")]
    #[diagnostic(help("measure ten with `atb profile`"))]
    TooFewToCalibrate { needed: usize, found: usize },
    #[error(
        "all {count} measured architectures have the {what} {value}, but the space `{space}` \
         has others"
    )]
    #[diagnostic(help("measure architectures that differ in it"))]
    Degenerate { count: usize, what: &'static str, value: usize, space: String },
    #[error(
        "a {kind} model knows one batch size and sequence length, the measurements have several \
         ({first}; {other})"
    )]
    #[diagnostic(help("use measurements of one of them"))]
    MixedWorkloads { kind: &'static str, first: String, other: String },
    #[error("the measurements are of the {measured}, the predictor predicts the {predicted}")]
    #[diagnostic(help("calibrate with measurements of the same quantity"))]
    Quantity { measured: Quantity, predicted: Quantity },
    #[error("{arch} has the {quantity} {value}, which is not a positive number")]
    #[diagnostic(help("remove its line from the measurement file and measure it again"))]
    Value { arch: Box<Architecture>, quantity: Quantity, value: f64 },
    #[error("no combination of the features explains what was measured of {count} architectures")]
    #[diagnostic(help("check the measurement file: values should grow with the architecture"))]
    NothingFits { count: usize },
    #[error("a model of this kind cannot be carried over to another device")]
    #[diagnostic(help("fit a new one to more measurements with `atb fit`"))]
    NotCalibrated,
}

/// `batch 1, sequence length 128`.
pub(crate) fn describe(workload: Workload) -> String {
    format!("batch {}, sequence length {}", workload.batch, workload.sequence)
}

/// Refuses observations of several batch sizes or sequence lengths, on behalf of a model of
/// `kind`.
///
/// # Errors
/// [`FitError::MixedWorkloads`].
pub fn one_workload(kind: &'static str, observations: &[Observation]) -> Result<(), FitError> {
    let first = observations.first().map(|item| item.workload);
    match observations.iter().find(|item| Some(item.workload) != first) {
        None => Ok(()),
        Some(other) => Err(FitError::MixedWorkloads {
            kind,
            first: first.map_or_else(String::new, describe),
            other: describe(other.workload),
        }),
    }
}

impl Observations {
    /// Refuses values that are not positive numbers: no model could be fitted to them.
    pub(crate) fn check(&self) -> Result<(), FitError> {
        for item in self.items.iter().chain(&self.baselines) {
            for value in [item.value, item.first, item.spread + 1.0] {
                if !(value.is_finite() && value > 0.0) {
                    let (arch, quantity) = (Box::new(item.arch.clone()), self.quantity);
                    return Err(FitError::Value { arch, quantity, value });
                }
            }
        }
        Ok(())
    }
}
