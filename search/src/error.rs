//! Why a search did not come to an end.

use std::io;
use std::path::PathBuf;

use atb_space::SpaceError;

use crate::EvaluationError;

/// Why a search did not come to an end.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SearchError {
    /// a space that holds nothing
    #[error(transparent)]
    #[diagnostic(transparent)]
    Space(#[from] SpaceError),
    /// a budget that makes no sense
    #[error(
        "{what} is {value}; hint: it must be a positive number, the lower end not above the upper"
    )]
    Budget {
        /// What is wrong.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// settings outside of their ranges
    #[error("search settings: {0}")]
    Settings(#[from] atb_settings::OutOfRange),
    /// a speed-up against something that was not measured
    #[error(
        "{arch} was not measured as a baseline on this device (measured: {}); hint: profile with \
         it as the baseline, or give the budget in milliseconds",
        list(known)
    )]
    NoBaseline {
        /// The baseline's id.
        arch: String,
        /// Those that were measured.
        known: Vec<String>,
    },
    /// no architecture in the band
    #[error(
        "no architecture of the space `{space}` meets the budget of {low_ms:.3} to {high_ms:.3} ms; \
         the nearest is {nearest} with {nearest_ms:.3} ms; hint: {hint}"
    )]
    NothingInBand {
        /// The space's name.
        space: String,
        /// Lower end of the band, in milliseconds.
        low_ms: f64,
        /// Upper end of the band, in milliseconds.
        high_ms: f64,
        /// The architecture whose predicted latency is nearest to the band.
        nearest: String,
        /// Its predicted latency, in milliseconds.
        nearest_ms: f64,
        /// What to do.
        hint: &'static str,
    },
    /// architectures in the band, none of which keeps the limits
    #[error(
        "of {in_band} architectures of the space `{space}` with {low_ms:.3} to {high_ms:.3} ms none \
         keeps the limits on parameters, file size, memory or the interval's upper end; hint: \
         lower the latency budget or raise the limits"
    )]
    NothingWithinLimits {
        /// How many have a predicted latency in the band.
        in_band: u64,
        /// The space's name.
        space: String,
        /// Lower end of the band, in milliseconds.
        low_ms: f64,
        /// Upper end of the band, in milliseconds.
        high_ms: f64,
    },
    /// a strategy's rule that leaves nothing
    #[error(
        "none of the {candidates} candidates follows the rule 1.6 dm <= df <= 1.9 dm and 0.7 dm <= \
         dq <= dm of the strategy `fast`; hint: use `random` or `evolved`"
    )]
    NothingFast {
        /// How many candidates there are without it.
        candidates: u64,
    },
    /// an evaluation that failed
    #[error("{arch} could not be evaluated: {source}")]
    Evaluation {
        /// The architecture.
        arch: String,
        /// Why.
        source: EvaluationError,
    },
    /// a fitness that is no number
    #[error("{arch} has the fitness {value}; a fitness must be a finite number")]
    NotANumber {
        /// The architecture.
        arch: String,
        /// The value.
        value: f64,
    },
    /// threads that could not be started
    #[error("the evaluation threads could not be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// the store of evaluated architectures
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
}

/// Why a store of fitness values could not be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum StoreError {
    /// the file system said no
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// a file of a newer version
    #[error(
        "{}: line 1 has schema {found}, this version reads up to {}; hint: use a newer version of \
         atb", path.display(), crate::store::SCHEMA
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
    },
    /// a line that cannot be read
    #[error("{}: line {line} is not {expected}: {problem}; hint: move the file away to evaluate anew", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it should be.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// values of another fitness
    #[error(
        "{} holds values of another fitness ({there}, now {here}); hint: choose another file or \
         move this one away", path.display()
    )]
    OtherFitness {
        /// The file.
        path: PathBuf,
        /// Name and digest in the file.
        there: String,
        /// Name and digest now.
        here: String,
    },
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
