//! Why a search did not come to an end.

use std::io;
use std::path::PathBuf;

use atb_files::FileError;
use atb_measurements::Quantity;
use atb_settings::OutOfRange;
use atb_space::SpaceError;

use crate::EvaluationError;

/// Why a search did not come to an end.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SearchError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Space(#[from] SpaceError),
    #[error("the predictor's quantity is {quantity}; expected latency, which a budget is of")]
    #[diagnostic(help("`atb fit` without --quantity"))]
    Quantity { quantity: Quantity },
    #[error("search settings: {0}")]
    Settings(OutOfRange),
    #[error("{arch} was not measured as a baseline on this device (measured: {})", list(known))]
    #[diagnostic(help("profile with it as the baseline, or give the budget in milliseconds"))]
    NoBaseline { arch: String, known: Vec<String> },
    #[error(
        "no architecture of the space `{space}` meets the budget of {low_ms:.3} to {high_ms:.3} ms; \
         the nearest is {nearest} with {nearest_ms:.3} ms"
    )]
    NothingInBand {
        space: String,
        low_ms: f64,
        high_ms: f64,
        nearest: String,
        nearest_ms: f64,
        #[help]
        hint: &'static str,
    },
    #[error(
        "of {in_band} architectures of the space `{space}` with {low_ms:.3} to {high_ms:.3} ms none \
         keeps the limits on parameters, file size, memory or the interval's upper end"
    )]
    #[diagnostic(help("lower the latency budget or raise the limits"))]
    NothingWithinLimits { in_band: u64, space: String, low_ms: f64, high_ms: f64 },
    #[error(
        "none of the {candidates} candidates follows the rule 1.6 dm <= df <= 1.9 dm and 0.7 dm <= \
         dq <= dm of the strategy `fast`"
    )]
    #[diagnostic(help("use `random` or `evolutionary`"))]
    NothingFast { candidates: u64 },
    #[error("{arch} could not be evaluated: {cause}")]
    Evaluation { arch: String, cause: EvaluationError },
    #[error("{arch} has the fitness {value}; a fitness must be a finite number")]
    NotANumber { arch: String, value: f64 },
    #[error("the evaluation threads could not be started")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
}

impl From<OutOfRange> for SearchError {
    fn from(error: OutOfRange) -> Self {
        Self::Settings(error)
    }
}

/// Why a store of fitness values could not be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error("{}: line {line} is not {expected}: {problem}", path.display())]
    #[diagnostic(help("move the file away to evaluate everything again"))]
    Line { path: PathBuf, line: usize, expected: &'static str, problem: String },
    #[error("{} holds values of another fitness ({there}, now {here})", path.display())]
    #[diagnostic(help("choose another file or move this one away"))]
    OtherFitness { path: PathBuf, there: String, here: String },
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::File(error.into())
    }
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
