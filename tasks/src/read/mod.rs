//! The examples of a split, read and checked.

mod delimited;
mod json_lines;
mod squad;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::TaskError;
use crate::error::Place;
use crate::kind::Kind;
use crate::task::{Format, Task};

pub use squad::{Answer, Question};

/// What is right for an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The label, by its number among the task's.
    Label(usize),
    /// The score.
    Score(f64),
    /// That the two texts belong together.
    Pair,
}

/// One or two texts, and what is right for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The first text.
    pub first: String,
    /// The second text, where there are two.
    pub second: Option<String>,
    /// What is right.
    pub target: Target,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// The examples of a split.
#[derive(Clone, Debug, PartialEq)]
pub enum Examples {
    /// Texts with a label or a score.
    Rows(Vec<Example>),
    /// Questions on texts.
    Questions(Vec<Question>),
}

/// A split of a task's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Its examples, at least one.
    pub examples: Examples,
    /// The labels of a classification, in the order of a model's outputs.
    pub labels: Vec<String>,
    /// Rows that end early and were left out.
    pub left_out: usize,
}

/// A row as its file has it.
struct Row {
    line: usize,
    first: String,
    second: Option<String>,
    target: Option<String>,
}

/// Rows, and how many were left out.
struct Rows {
    rows: Vec<Row>,
    left_out: usize,
    /// Whether the file has a header.
    header: bool,
}

impl Split {
    /// How many examples it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.examples {
            Examples::Rows(rows) => rows.len(),
            Examples::Questions(questions) => questions.len(),
        }
    }

    /// Whether it has none; a split that was read has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All its texts, each as often as it is there.
    pub fn texts(&self) -> Vec<&str> {
        match &self.examples {
            Examples::Rows(rows) => rows
                .iter()
                .flat_map(|row| [Some(row.first.as_str()), row.second.as_deref()])
                .flatten()
                .collect(),
            Examples::Questions(questions) => questions
                .iter()
                .flat_map(|question| [question.text.as_str(), &question.context])
                .collect(),
        }
    }

    /// The texts of each example as one, whatever their case and spaces, and its place.
    pub(crate) fn keys(&self) -> Vec<(String, Place)> {
        let key = |texts: [&str; 2]| {
            let words = texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
            words.join("\n").to_lowercase()
        };
        match &self.examples {
            Examples::Rows(rows) => rows
                .iter()
                .map(|row| {
                    let texts = [row.first.as_str(), row.second.as_deref().unwrap_or_default()];
                    (key(texts), Place::line(&self.path, row.line))
                })
                .collect(),
            Examples::Questions(questions) => questions
                .iter()
                .map(|question| {
                    let texts = [question.text.as_str(), &question.context];
                    (key(texts), Place::question(&self.path, &question.id))
                })
                .collect(),
        }
    }
}

impl Task {
    /// The examples of a split; `data` is the folder of the task's files, or the one above it.
    ///
    /// # Errors
    /// [`TaskError`] naming the file and, where one is at fault, the row.
    pub fn read_split(&self, data: Option<&Path>, split: &str) -> Result<Split, TaskError> {
        let path = self.split_file(data, split)?;
        self.read_file(data, split, &path)
    }

    /// As [`Task::read_split`], of another file than the one the task names.
    ///
    /// # Errors
    /// As [`Task::read_split`].
    pub fn read_file(
        &self,
        data: Option<&Path>,
        split: &str,
        path: &Path,
    ) -> Result<Split, TaskError> {
        let format = self.format_of(path)?;
        let split = |examples, labels, left_out| Split {
            name: split.to_owned(),
            path: path.to_owned(),
            examples,
            labels,
            left_out,
        };
        if self.kind == Kind::Span {
            if format != Format::Squad {
                return Err(TaskError::Task {
                    path: path.to_owned(),
                    problem: "questions on texts are read from SQuAD's JSON alone".to_owned(),
                    help: "give the questions in the layout of SQuAD 1.1".to_owned(),
                });
            }
            return Ok(split(Examples::Questions(squad::read(path)?), Vec::new(), 0));
        }
        let labels = self.labels_of(data, path)?;
        let Rows { rows, left_out, header } = self.rows(path)?;
        let of = |row: &Row| self.target_of(row, &labels, path);
        let mut examples = Vec::with_capacity(rows.len());
        for row in rows {
            let target = match (&self.relevant, &row.target) {
                (Some(relevant), Some(target)) if relevant != target => continue,
                _ => of(&row)?,
            };
            let Row { line, first, second, .. } = row;
            if first.trim().is_empty() && !self.published {
                return Err(TaskError::Row {
                    place: Place::line(path, line),
                    problem: format!("the text `{}` is empty", self.first),
                    help: "delete the row, or write its text",
                });
            }
            examples.push(Example { first, second, target, line });
            if self.most.is_some_and(|most| examples.len() >= most) {
                break;
            }
        }
        if examples.is_empty() {
            return Err(TaskError::Empty { path: path.to_owned(), header });
        }
        Ok(split(Examples::Rows(examples), labels, left_out))
    }

    fn rows(&self, path: &Path) -> Result<Rows, TaskError> {
        match self.format_of(path)? {
            Format::Tsv => delimited::tab_separated(self, path),
            Format::Csv => delimited::comma_separated(self, path),
            Format::JsonLines => json_lines::read(self, path),
            Format::Squad => Err(TaskError::Task {
                path: path.to_owned(),
                problem: format!("SQuAD's JSON has no rows for task {}", self.name),
                help: "give the data as CSV, TSV or JSON Lines".to_owned(),
            }),
        }
    }

    /// The labels that it names, or else those of its training split.
    fn labels_of(&self, data: Option<&Path>, path: &Path) -> Result<Vec<String>, TaskError> {
        if self.kind != Kind::Classification || !self.labels.is_empty() {
            return Ok(self.labels.clone());
        }
        let train = match self.splits.contains_key("train") {
            true => self.split_file(data, "train")?,
            false => path.to_owned(),
        };
        let rows = self.rows(&train)?.rows;
        let mut labels: Vec<String> = rows.into_iter().filter_map(|row| row.target).collect();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() < 2 {
            return Err(TaskError::Task {
                path: train,
                problem: "it does not have two labels".to_owned(),
                help: "name the task's `labels`".to_owned(),
            });
        }
        Ok(labels)
    }

    fn target_of(&self, row: &Row, labels: &[String], path: &Path) -> Result<Target, TaskError> {
        let place = || Place::line(path, row.line);
        let text = row.target.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Classification => match labels.iter().position(|label| label == text) {
                Some(label) => Ok(Target::Label(label)),
                None => Err(TaskError::UnknownLabel {
                    place: place(),
                    label: text.chars().take(60).collect(),
                    known: labels.to_vec(),
                }),
            },
            Kind::Regression | Kind::Similarity => {
                let problem = match (text.parse::<f64>(), self.range) {
                    (Ok(score), Some([least, most])) if !(least..=most).contains(&score) => {
                        format!("not within {least} to {most}")
                    }
                    (Ok(score), _) if score.is_finite() => return Ok(Target::Score(score)),
                    _ => "not a number".to_owned(),
                };
                let score = text.chars().take(60).collect();
                Err(TaskError::Score { place: place(), score, problem })
            }
            Kind::Retrieval | Kind::Span => Ok(Target::Pair),
        }
    }

    /// Checks that no example of `into` is one of `split` too.
    ///
    /// Gives how many are, where the task's files are taken as they were published.
    ///
    /// # Errors
    /// [`TaskError::Leak`] naming the first.
    pub fn check_leaks(&self, split: &Split, into: &Split) -> Result<usize, TaskError> {
        let keys = split.keys();
        let known: HashMap<&str, &Place> =
            keys.iter().map(|(key, place)| (key.as_str(), place)).collect();
        let keys = into.keys();
        let mut leaks =
            keys.iter().filter_map(|(key, place)| Some((place, *known.get(key.as_str())?)));
        let Some((place, other)) = leaks.next() else { return Ok(0) };
        let count = 1 + leaks.count();
        if self.published {
            return Ok(count);
        }
        Err(TaskError::Leak {
            place: Box::new(place.clone()),
            other: Box::new(other.clone()),
            split: split.name.clone(),
            into: into.name.clone(),
            count,
        })
    }
}

/// The columns of a file that a task reads.
struct Columns {
    first: usize,
    second: Option<usize>,
    target: Option<usize>,
    /// Whether the first row names them.
    header: bool,
}

impl Columns {
    /// Finds the task's columns in the first row of a file, or else among those that the task
    /// says a file without a header has.
    fn of(task: &Task, path: &Path, first_row: &[&str]) -> Result<Self, TaskError> {
        let names = [Some(&task.first), task.second.as_ref(), task.target.as_ref()];
        let header = names.iter().flatten().any(|name| first_row.contains(&name.as_str()));
        let own: Vec<&str> = task.columns.iter().map(String::as_str).collect();
        let columns = if header || own.is_empty() { first_row } else { &own };
        let find = |name: &String| match columns.iter().position(|column| column == name) {
            Some(index) => Ok(index),
            None => Err(TaskError::NoColumn {
                place: Place::line(path, 1),
                column: name.clone(),
                known: columns.iter().take(40).map(|c| c.chars().take(40).collect()).collect(),
                header,
            }),
        };
        Ok(Self {
            first: find(&task.first)?,
            second: task.second.as_ref().map(&find).transpose()?,
            target: task.target.as_ref().map(find).transpose()?,
            header,
        })
    }

    /// The task's columns of a row; `Err` with the one that it lacks.
    fn row<'a>(&self, line: usize, field: impl Fn(usize) -> Option<&'a str>) -> Result<Row, usize> {
        let field = |column: usize| field(column).map(str::to_owned).ok_or(column);
        Ok(Row {
            line,
            first: field(self.first)?,
            second: self.second.map(field).transpose()?,
            target: self.target.map(field).transpose()?.map(|target| target.trim().to_owned()),
        })
    }

    /// The name of a column that the task reads.
    fn name(&self, task: &Task, column: usize) -> String {
        let name = if column == self.first {
            Some(&task.first)
        } else if Some(column) == self.second {
            task.second.as_ref()
        } else {
            task.target.as_ref()
        };
        name.cloned().unwrap_or_default()
    }
}
