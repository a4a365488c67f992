//! What can be wrong with a file.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{origin} has schema {found}, this version of atb reads up to {known}")]
    #[diagnostic(help("use a newer version of atb"))]
    NewerSchema { origin: String, found: u64, known: u32 },
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help("restore the file from a copy, or delete it to have it written again"))]
    Json { path: PathBuf, problem: JsonProblem },
    #[error("{}: line {line} is not {expected}: {problem}", path.display())]
    #[diagnostic(help("delete that line to go on without it"))]
    Line { path: PathBuf, line: usize, expected: &'static str, problem: String },
    #[error("{}: line 1 is not {expected}: {problem}", path.display())]
    #[diagnostic(help("name another file, or move this one away"))]
    Header { path: PathBuf, expected: &'static str, problem: String },
    #[error("{}: line {line} is longer than {} MiB", path.display(), crate::LINE_LIMIT >> 20)]
    #[diagnostic(help("delete that line if the file is one of atb's; it writes no such line"))]
    LongLine { path: PathBuf, line: usize },
    #[error("another atb{} is writing to {}", process(*holder), path.display())]
    #[diagnostic(help("wait until it has ended, or name another place to write to"))]
    Held { path: PathBuf, holder: Option<u32> },
}

fn process(id: Option<u32>) -> String {
    id.map_or_else(String::new, |id| format!(" (process {id})"))
}

/// What is wrong in a JSON text, and where.
#[derive(Debug)]
pub struct JsonProblem {
    message: String,
    line: usize,
    column: usize,
}

impl JsonProblem {
    /// What is wrong, without where.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<serde_json::Error> for JsonProblem {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        Self { message, line, column }
    }
}

impl fmt::Display for JsonProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}, column {}: {}", self.column, self.message),
        }
    }
}
