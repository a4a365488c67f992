//! Failures on their way to an exception.

use atb_app::{ErrorKind, MeasureError, ModelError, told};
use miette::Diagnostic;

/// What kind of failure it is; the numbers are those of `autotinybert.Native.failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Argument = 1,
    Bundle = 2,
    Task = 3,
    Cancelled = 4,
    Failed = 5,
    Bug = 6,
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What is to be thrown.
    Told { kind: Kind, message: String, help: Option<String> },
    /// An exception is on its way already.
    Thrown,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::Told { kind, message: message.into(), help: None }
    }

    fn of(kind: Kind, error: &dyn Diagnostic) -> Self {
        let (message, help) = told(error);
        Self::Told { kind, message, help }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Bundle => Kind::Bundle,
            ErrorKind::Task => Kind::Task,
            ErrorKind::Argument => Kind::Argument,
            ErrorKind::Cancelled => Kind::Cancelled,
            ErrorKind::Failed => Kind::Failed,
        };
        Self::of(kind, &error)
    }
}

impl From<MeasureError> for Failure {
    fn from(error: MeasureError) -> Self {
        match error {
            MeasureError::Model(error) => error.into(),
            error => Self::of(Kind::Failed, &error),
        }
    }
}
