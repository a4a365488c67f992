//! Errors in words, for languages whose exceptions and statuses have no chains.

use miette::Diagnostic;

/// The error's message, with those of its causes that it does not say already, and what to do about
/// it.
#[must_use]
pub fn told(error: &dyn Diagnostic) -> (String, Option<String>) {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !message.contains(&next) {
            message = format!("{message}: {next}");
        }
        cause = error.source();
    }
    (message, error.help().map(|help| help.to_string()))
}
