//! Why settings could not be read.

use std::fmt::{self, Display};
use std::path::PathBuf;

use crate::Violation;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of its key, from 1.
        line: usize,
    },
    /// By a flag of the command line.
    Flag(String),
    /// Nowhere: the default.
    Default,
}

impl Source {
    /// What stands before a message about a value.
    fn prefix(&self) -> String {
        match self {
            Self::File { path, line } => format!("{}: line {line}: ", path.display()),
            Self::Flag(flag) => format!("{flag}: "),
            Self::Default => String::new(),
        }
    }

    /// What to do about a value.
    fn remedy(&self) -> &'static str {
        match self {
            Self::File { .. } => "change the value, or leave the key out to take its default",
            Self::Flag(_) => "change the value, or leave the flag out to take its default",
            Self::Default => "give a value that fits the others",
        }
    }
}

/// A value outside of its range, and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where the value was given.
    pub source: Source,
    /// What is wrong with it.
    pub violation: Violation,
}

impl Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.source.prefix(), self.violation)
    }
}

/// Why settings could not be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SettingsError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{}: line {line} is not UTF-8 text", path.display())]
    #[diagnostic(help("save the file in UTF-8"))]
    NotText { path: PathBuf, line: usize },
    #[error("{}: line {line}, column {column}: {problem}, at `{excerpt}`", path.display())]
    #[diagnostic(help("the file must be TOML: `key = value` lines under [table] headings"))]
    Syntax { path: PathBuf, line: usize, column: usize, problem: String, excerpt: String },
    #[error("{}unknown key `{key}`", at.prefix())]
    #[diagnostic(help("{suggestion}known here: {known}"))]
    UnknownKey { at: Box<Source>, key: String, suggestion: String, known: String },
    #[error("{}`{old}` is now called `{new}`", at.prefix())]
    #[diagnostic(help("write `{new}` instead"))]
    Renamed { at: Box<Source>, old: String, new: String },
    #[error("{}`{key}` is {value}, expected {expected}", at.prefix())]
    #[diagnostic(help("{suggestion}{}", at.remedy()))]
    Value { at: Box<Source>, key: String, value: String, expected: String, suggestion: String },
    #[error("{}`{key}`: {problem}", at.prefix())]
    #[diagnostic(help("{}", at.remedy()))]
    Invalid { at: Box<Source>, key: String, problem: String },
    #[error("{}`{key}` is missing", at.prefix())]
    #[diagnostic(help("add it"))]
    Missing { at: Box<Source>, key: String },
    #[error("{}", list(values))]
    #[diagnostic(help("{}", remedy(values)))]
    OutOfRange { values: Vec<Located> },
}

fn list(values: &[Located]) -> String {
    let texts: Vec<String> = values.iter().map(Located::to_string).collect();
    texts.join("\n  ")
}

fn remedy(values: &[Located]) -> &'static str {
    values.first().map_or("", |value| value.source.remedy())
}
