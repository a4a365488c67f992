//! What can be wrong with a task, its data and the model that it is given to.

use std::path::{Path, PathBuf};

use atb_checkpoint::CheckpointError;
use atb_files::FileError;
use atb_graph::{ConfigError, GraphError};
use atb_runtime::SessionError;
use atb_settings::{OutOfRange, SettingsError};
use atb_text::TextError;

/// A row of a data file: a line, or a question by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Where in it, as in `line 3`.
    pub row: String,
}

impl Place {
    /// The line of a file, from 1.
    #[must_use]
    pub fn line(path: &Path, line: usize) -> Self {
        Self { path: path.to_owned(), row: format!("line {line}") }
    }

    /// The question of this id.
    #[must_use]
    pub fn question(path: &Path, id: &str) -> Self {
        Self { path: path.to_owned(), row: format!("question {id}") }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.row)
    }
}

/// Why a task could not be read, or a model not be evaluated on it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TaskError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Head(#[from] ConfigError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Session(#[from] SessionError),

    #[error("there is no task `{name}`")]
    #[diagnostic(help("the tasks are {}; or name the TOML file of a task of your own", known.join(", ")))]
    UnknownTask { name: String, known: Vec<String> },
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help("{help}"))]
    Task { path: PathBuf, problem: String, help: String },
    #[error("task {task} has no split `{split}`")]
    #[diagnostic(help("its splits are {}", known.join(", ")))]
    UnknownSplit { task: String, split: String, known: Vec<String> },
    #[error("there is no {} for the split `{split}` of {task}", path.display())]
    #[diagnostic(help("name the folder of the task's files, or the one above it, with --data"))]
    NoFile { task: String, split: String, path: PathBuf },

    #[error("{}: the file holds no examples", path.display())]
    #[diagnostic(help("give a file with at least one row{}", below_header(*header)))]
    Empty { path: PathBuf, header: bool },
    #[error("{place}: not UTF-8 text")]
    #[diagnostic(help("convert the file to UTF-8"))]
    NotText { place: Place },
    #[error("{place}: column {needed}, `{column}`, is missing: the row has {found}")]
    #[diagnostic(help("complete the row or delete it; columns are separated by {separator}"))]
    Columns { place: Place, found: usize, needed: usize, column: String, separator: &'static str },
    #[error("{place}: no column `{column}`; there are {}", known.join(", "))]
    #[diagnostic(help(
        "name the task's columns as the file's first line does{}",
        if *header { "" } else { ", or give the task `columns` if the file has no header" }
    ))]
    NoColumn { place: Place, column: String, known: Vec<String>, header: bool },
    #[error("{place}: no key `{key}`; there are {}", known.join(", "))]
    #[diagnostic(help("write the key in every line, or name another one in the task"))]
    NoKey { place: Place, key: String, known: Vec<String> },
    #[error("{place}: {problem}")]
    #[diagnostic(help("{help}"))]
    Row { place: Place, problem: String, help: &'static str },
    #[error("{place}: the label `{label}` is none of the task's: {}", known.join(", "))]
    #[diagnostic(help("correct the label, or add it to the task's `labels`"))]
    UnknownLabel { place: Place, label: String, known: Vec<String> },
    #[error("{place}: the score `{score}` is {problem}")]
    #[diagnostic(help("correct the score, or the task's `range`"))]
    Score { place: Place, score: String, problem: String },
    #[error("{place}: {problem}")]
    #[diagnostic(help("{help}"))]
    Answer { place: Place, problem: String, help: String },
    #[error(
        "{place}: the same as {other}; `{split}` leaks into `{into}` with {count} of its examples"
    )]
    #[diagnostic(help(
        "remove the texts from one of the two splits; a score on texts that were trained on means nothing"
    ))]
    Leak { place: Box<Place>, other: Box<Place>, split: String, into: String, count: usize },

    #[error("{}: {count} examples are too few to train on some and choose by others", path.display())]
    #[diagnostic(help("give at least two of different texts; a hundred are little"))]
    TooFew { path: PathBuf, count: usize },
    #[error("there is nothing to train for {task}, whose models give embeddings")]
    #[diagnostic(help(
        "`atb train --objective sentence` trains embeddings; fine-tune on a task of labels, scores or answers"
    ))]
    NothingToTrain { task: String },
    #[error(
        "the teacher {model} reads other tokens than the model: its vocabulary has {entries} entries"
    )]
    #[diagnostic(help("take a teacher with the model's vocabulary, and as many positions"))]
    OtherTokens { model: String, entries: usize },
    #[error("{} is no model", path.display())]
    #[diagnostic(help(
        "name a model folder (config.json and weights), a bundle of `atb export`, its model.onnx, or `static:FOLDER`"
    ))]
    NoModel { path: PathBuf },
    #[error("{model} gives no {wanted}, which {task} needs")]
    #[diagnostic(help("{help}"))]
    NoOutput { model: String, wanted: &'static str, task: String, help: &'static str },
    #[error("{model} tells {found} labels apart, {task} has {expected}")]
    #[diagnostic(help("take a model that was fine-tuned on {task}"))]
    Labels { model: String, task: String, found: usize, expected: usize },
    #[error("{model} was fine-tuned on {trained}, not on {task}")]
    #[diagnostic(help("evaluate it on {trained}, or take a model that was fine-tuned on {task}"))]
    OtherTask { model: String, trained: String, task: String },
    #[error("{model} was fine-tuned on {trained}, not on {task}")]
    #[diagnostic(help("start from the model that it was fine-tuned from"))]
    Finetuned { model: String, trained: String, task: String },
    #[error("{model} has no word embeddings that can be read")]
    #[diagnostic(help("name the model folder that the file was exported from"))]
    NoWords { model: String },
    #[error("{place} is {tokens} tokens long, which leaves no room for its text in {sequence}")]
    #[diagnostic(help("take a larger sequence length"))]
    NoRoom { place: Place, tokens: usize, sequence: usize },
    #[error("{one} and {other} were evaluated on other examples")]
    #[diagnostic(help("compare models on the same task, split and file"))]
    OtherExamples { one: String, other: String },
}

fn below_header(header: bool) -> &'static str {
    if header { " below the header" } else { "" }
}
