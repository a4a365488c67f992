//! Why a target could not be found, reached or used.

use std::io;
use std::path::PathBuf;

use atb_settings::{OutOfRange, SettingsError};

/// Why a target could not be found, reached or used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TargetError {
    #[error("there is no target `{name}`: it is neither a file nor one of {known}")]
    #[diagnostic(help(
        "`atb devices` lists what can be reached; for a device of your own copy a file of \
         targets/devices/ and name it"
    ))]
    Unknown { name: String, known: String },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cache(#[from] atb_files::CacheError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Settings(#[from] SettingsError),
    #[error("{origin}: {problem}")]
    Address { origin: String, problem: OutOfRange },
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] atb_files::FileError),
    #[error("`{program}` could not be started: {cause}")]
    #[diagnostic(help("{help}"))]
    Program { program: String, cause: io::Error, help: String },
    #[error("the agent {} could not be started: {cause}", program.display())]
    Start { program: PathBuf, cause: io::Error },
    #[error("there is no agent for {triple} at {}", path.display())]
    #[diagnostic(help(
        "run `atb agent build --target {target}`, or name one with `agent = \"...\"` in the \
         target file"
    ))]
    NoAgent { target: String, triple: String, path: PathBuf },
    #[error(
        "the agent {} is built for {built_for}, but `{target}` is a machine of the kind {machine}",
        agent.display()
    )]
    #[diagnostic(help(
        "set `triple` in the target file to one for {machine}, and run `atb agent build --target \
         {target}`"
    ))]
    Machine { target: String, agent: PathBuf, built_for: String, machine: String },
    #[error("`{target}` is a machine of the kind {machine}, for which atb knows no target triple")]
    #[diagnostic(help("set `triple` in the target file"))]
    UnknownMachine { target: String, machine: String },
    #[error("`{target}` could not be reached ({cause})")]
    #[diagnostic(help("{help}"))]
    Unreachable { target: String, cause: String, help: String },
    #[error("`{target}` could not {task} ({cause})")]
    Failed {
        target: String,
        task: String,
        cause: String,
        #[help]
        help: Option<String>,
    },
}
