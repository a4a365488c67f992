//! What can go wrong between host and device.

use atb_measurements::FileError;
use atb_targets::TargetError;

/// Why a profile could not be taken to its end. What was measured before is in the file.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProfileError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error("the agent on `{target}` ended while it was to {task} ({cause})")]
    #[diagnostic(help("run the same command again, what was measured is kept"))]
    AgentEnded { target: String, task: String, cause: String },
    #[error(
        "the agent on `{target}` answered `{line}`, which is not a response of its protocol \
         ({problem})"
    )]
    #[diagnostic(help(
        "the agent may be of another version (`atb agent build --target {target}`), or a login \
         shell prints a greeting"
    ))]
    NotAResponse { target: String, line: String, problem: String },
    #[error("`{target}` could not measure {subject}: {message}")]
    Refused {
        target: String,
        subject: String,
        message: String,
        #[help]
        help: Option<String>,
    },
}
