//! What can go wrong between host and device.

use atb_measurements::FileError;
use atb_targets::TargetError;

/// Why a profile could not be taken to its end. What was measured before is in the file.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ProfileError {
    /// the device could not be reached
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
    /// the measurement file could not be read or written
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    /// the agent died or the connection broke
    #[error(
        "the agent on `{target}` ended while it was to {task} ({cause}); hint: run the same command again, what was measured is kept"
    )]
    AgentEnded {
        /// The target's name.
        target: String,
        /// What it had been asked for.
        task: String,
        /// How it ended.
        cause: String,
    },
    /// the agent said something that is no response
    #[error(
        "the agent on `{target}` answered `{line}`, which is no response of its protocol ({problem}); hint: is it of another version, or does a login shell print a greeting?"
    )]
    NotAResponse {
        /// The target's name.
        target: String,
        /// The beginning of the line.
        line: String,
        /// What is wrong with it.
        problem: String,
    },
    /// the agent could not do what it was asked for
    #[error("`{target}` could not measure {subject}: {message}")]
    Refused {
        /// The target's name.
        target: String,
        /// What was to be measured.
        subject: String,
        /// Why not, in the agent's words.
        message: String,
    },
}
