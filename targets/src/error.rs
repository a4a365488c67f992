//! Why a target could not be found, reached or used.

use std::io;
use std::path::PathBuf;

/// Why a target could not be found, reached or used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum TargetError {
    /// neither a name nor a file
    #[error(
        "there is no target `{name}`: it is neither a file nor one of {known}; hint: copy a file of targets/devices/ and name it"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The known names.
        known: String,
    },
    /// a file that cannot be read or written
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// no cache folder
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cache(#[from] atb_files::CacheError),
    /// a file that is no target
    #[error("{origin}: {}", source.to_string().trim_end())]
    Invalid {
        /// Where it came from.
        origin: String,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// a value that no target can have
    #[error("{origin}: `{key}` is {value}; it must be {expected}")]
    Value {
        /// Where it came from.
        origin: String,
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// a file of a newer format
    #[error(
        "{origin} is of schema {found}, this atb knows schemas up to {known}; hint: use a newer atb"
    )]
    Newer {
        /// Where it came from.
        origin: String,
        /// Its schema version.
        found: u32,
        /// The newest that can be read.
        known: u32,
    },
    /// a program of this machine could not be started
    #[error("`{program}` could not be started: {source}; hint: {hint}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
        /// How to get it.
        hint: String,
    },
    /// the agent's program could not be started
    #[error("the agent {} could not be started: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// the agent for the device was never built
    #[error(
        "there is no agent for {triple} at {}; hint: run `atb agent build --target {target}`, or name one with `agent = \"...\"` in the target file", path.display()
    )]
    NoAgent {
        /// The target's name.
        target: String,
        /// What it would be built for.
        triple: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// an agent for another kind of processor
    #[error(
        "the agent {} is built for {built_for}, but `{target}` is a machine of the kind {machine}; hint: set `triple` in the target file to one for {machine}, and run `atb agent build --target {target}`", agent.display()
    )]
    Machine {
        /// The target's name.
        target: String,
        /// The agent's file.
        agent: PathBuf,
        /// The processor that it is for.
        built_for: String,
        /// What the device says it is.
        machine: String,
    },
    /// a kind of processor that no agent is known for
    #[error(
        "`{target}` is a machine of the kind {machine}, for which atb knows no target triple; hint: set `triple` in the target file"
    )]
    UnknownMachine {
        /// The target's name.
        target: String,
        /// What the device says it is.
        machine: String,
    },
    /// no answer from the device
    #[error("`{target}` could not be reached ({cause}); hint: {hint}")]
    Unreachable {
        /// The target's name.
        target: String,
        /// What the transport says.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// a command failed on the device
    #[error("`{target}` could not {task} ({cause}){hint}")]
    Failed {
        /// The target's name.
        target: String,
        /// What was to be done.
        task: String,
        /// What the device says.
        cause: String,
        /// What to do, as `; hint: ...`, where that is known.
        hint: String,
    },
}

impl TargetError {
    /// For `map_err` on what was to be done with `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
