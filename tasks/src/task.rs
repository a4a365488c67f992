//! What a task is: its kind, its columns, its splits and its metrics, as data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use atb_settings::Layers;
use serde::Deserialize;

use crate::TaskError;
use crate::kind::Kind;
use crate::metrics::Metric;

/// The tasks that there are without a file of their own.
const BUILT_IN: &str = include_str!("tasks.toml");

/// How a data file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Columns separated by tabs; quotation marks are characters like any other.
    Tsv,
    /// Columns separated by commas; a quoted one may hold commas, quotes and line ends.
    Csv,
    /// A JSON object a line.
    JsonLines,
    /// The JSON of SQuAD 1.1.
    Squad,
}

impl Format {
    /// What the ending of a file's name says.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "tsv" | "txt" => Some(Self::Tsv),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "json" => Some(Self::Squad),
            _ => None,
        }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Task {
    /// Its name.
    pub name: String,
    /// What is asked of a model.
    pub kind: Kind,
    /// The labels of a classification, in the order of a model's outputs; the labels of the
    /// split `train`, sorted, if it names none.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Least and largest score of a regression or similarity.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
    /// Layout of its files; by the ending of their names if absent.
    #[serde(default)]
    pub format: Option<Format>,
    /// The column of the first text.
    #[serde(default)]
    pub first: String,
    /// The column of the second text, where there are two.
    #[serde(default)]
    pub second: Option<String>,
    /// The column of the label or score.
    #[serde(default)]
    pub target: Option<String>,
    /// Of a retrieval: only the rows with this in the column `target` are pairs.
    #[serde(default)]
    pub relevant: Option<String>,
    /// Of a retrieval: so many of the first pairs.
    #[serde(default)]
    pub most: Option<usize>,
    /// The columns of a file without a header, in order.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The metrics, the deciding one first; those of its kind if it names none.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// The name of the folder of its files within one of several tasks.
    #[serde(default)]
    pub folder: Option<String>,
    /// File of each split, relative to the task's folder.
    pub splits: BTreeMap<String, PathBuf>,
    /// Its files are taken as they were published: a text may be empty, and be in two splits.
    #[serde(default)]
    pub published: bool,
    /// Rows that end early are known of its files, and left out.
    #[serde(default)]
    pub damaged: bool,
    /// The file that it was read from, of a user's own.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct List {
    task: Vec<Task>,
}

impl Task {
    /// The tasks that there are without a file of their own.
    ///
    /// # Errors
    /// None in practice: a test reads the list.
    pub fn built_in() -> Result<Vec<Self>, TaskError> {
        let list: List = Layers::new().text("tasks.toml", BUILT_IN)?.parse()?;
        list.task.into_iter().map(|task| task.completed(Path::new("tasks.toml"))).collect()
    }

    /// The built-in task of this name, whatever its case, or the one that the TOML file of
    /// this name describes.
    ///
    /// # Errors
    /// [`TaskError::UnknownTask`], and what is wrong with the file.
    pub fn find(name: &str) -> Result<Self, TaskError> {
        if name.ends_with(".toml") {
            return Self::read(Path::new(name));
        }
        let tasks = Self::built_in()?;
        match tasks.iter().find(|task| task.name.eq_ignore_ascii_case(name)) {
            Some(task) => Ok(task.clone()),
            None => Err(TaskError::UnknownTask {
                name: name.to_owned(),
                known: tasks.into_iter().map(|task| task.name).collect(),
            }),
        }
    }

    /// A user's own task.
    ///
    /// # Errors
    /// [`TaskError`] naming the file and the line or key.
    pub fn read(path: &Path) -> Result<Self, TaskError> {
        let task: Self = Layers::new().file(path)?.parse()?;
        Self { file: Some(path.to_owned()), ..task }.completed(path)
    }

    /// With the metrics of its kind if it names none, and whole in itself.
    fn completed(mut self, path: &Path) -> Result<Self, TaskError> {
        let refused = |problem: String, help: &str| {
            let help = help.to_owned();
            Err(TaskError::Task { path: path.to_owned(), problem, help })
        };
        let kind = self.kind;
        if self.metrics.is_empty() {
            self.metrics = Metric::of_kind(kind);
        }
        if let Some(metric) = self.metrics.iter().find(|metric| !metric.fits(kind)) {
            let known: Vec<String> = Metric::of_kind(kind).iter().map(Metric::to_string).collect();
            let problem = format!("`metrics` has {metric}, which is not one of a {kind:?} task");
            return refused(
                problem.to_lowercase(),
                &format!("among others there are {}", known.join(", ")),
            );
        }
        let span = kind == Kind::Span;
        if self.first.is_empty() && !span {
            return refused("`first` is missing".to_owned(), "name the column of the text");
        }
        if self.target.is_none() && !span && kind != Kind::Retrieval {
            let help = "name the column of the label or score";
            return refused("`target` is missing".to_owned(), help);
        }
        if self.second.is_none() && kind.is_of_embeddings() {
            let help = "name the column of the second text";
            return refused("`second` is missing".to_owned(), help);
        }
        if self.range.is_some_and(|[least, most]| !(least < most && (most - least).is_finite())) {
            let help = "give the least and the largest score, as in `range = [0, 5]`";
            return refused("`range` is none".to_owned(), help);
        }
        let scored = matches!(kind, Kind::Regression | Kind::Similarity);
        if self.range.is_none() && scored {
            let help = "give the least and the largest score, as in `range = [0, 5]`";
            return refused("`range` is missing".to_owned(), help);
        }
        let named = self.labels.len();
        let mut labels = self.labels.clone();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() < named {
            return refused("`labels` names one twice".to_owned(), "name each label once");
        }
        if named == 1 {
            return refused("`labels` has only one".to_owned(), "name at least two labels");
        }
        if self.relevant.is_some() && self.target.is_none() {
            let help = "name the column that `relevant` stands in";
            return refused("`relevant` without `target`".to_owned(), help);
        }
        if self.splits.is_empty() {
            let help = "name a file for each split, as in `splits = { dev = \"dev.csv\" }`";
            return refused("`splits` is empty".to_owned(), help);
        }
        Ok(self)
    }

    /// The names of its splits.
    #[must_use]
    pub fn split_names(&self) -> Vec<String> {
        self.splits.keys().cloned().collect()
    }

    /// The splits that models are compared on: those whose name begins with `dev`, or else
    /// those other than `train`.
    #[must_use]
    pub fn evaluated(&self) -> Vec<&str> {
        let names = || self.splits.keys().map(String::as_str);
        let dev: Vec<&str> = names().filter(|name| name.starts_with("dev")).collect();
        if dev.is_empty() { names().filter(|name| *name != "train").collect() } else { dev }
    }

    /// The file of a split: in the folder `data`, or in the one of the task's name within it;
    /// without `data`, of a user's own task, beside its file.
    ///
    /// # Errors
    /// [`TaskError::UnknownSplit`], [`TaskError::NoFile`].
    pub fn split_file(&self, data: Option<&Path>, split: &str) -> Result<PathBuf, TaskError> {
        let Some(name) = self.splits.get(split) else {
            return Err(TaskError::UnknownSplit {
                task: self.name.clone(),
                split: split.to_owned(),
                known: self.split_names(),
            });
        };
        let beside = self.file.as_deref().and_then(Path::parent);
        let folder = data.or(beside).unwrap_or(Path::new(""));
        let own = self.folder.as_deref().unwrap_or(&self.name);
        let places = [folder.join(own), folder.join(own.to_lowercase()), folder.to_owned()];
        let files = places.map(|place| place.join(name));
        match files.iter().find(|file| file.is_file()) {
            Some(file) => Ok(file.clone()),
            None => Err(TaskError::NoFile {
                task: self.name.clone(),
                split: split.to_owned(),
                path: files[2].clone(),
            }),
        }
    }

    /// The layout of one of its files.
    pub(crate) fn format_of(&self, path: &Path) -> Result<Format, TaskError> {
        self.format.or_else(|| Format::of(path)).ok_or_else(|| TaskError::Task {
            path: path.to_owned(),
            problem: "the ending of the name does not tell the layout".to_owned(),
            help: "give the task `format`: tsv, csv, json-lines or squad".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_names_are_unique() {
        let tasks = Task::built_in().expect("reads");
        let mut names: Vec<String> = tasks.iter().map(|task| task.name.to_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tasks.len());
        for task in &tasks {
            assert!(task.splits.contains_key("train") && task.splits.contains_key("dev"));
            let columns = [Some(&task.first), task.second.as_ref(), task.target.as_ref()];
            for column in columns.into_iter().flatten() {
                let known = task.columns.is_empty() || task.columns.contains(column);
                assert!(known, "{}: {column}", task.name);
            }
        }
        assert_eq!(Task::find("sst-2").expect("found").name, "SST-2");
        let mnli = Task::find("MNLI").expect("found");
        assert_eq!(mnli.evaluated(), ["dev", "dev-mismatched"]);
    }

    #[test]
    fn the_example_is_a_task() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/task.toml");
        let task = Task::read(&example).expect("reads");
        assert_eq!((task.kind, task.labels.len()), (Kind::Classification, 3));
        assert_eq!(task.evaluated(), ["dev"]);
    }

    #[test]
    fn what_a_task_s_file_lacks_is_told() {
        let read = |text: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("task.toml");
            fs_err::write(&path, text).expect("writes");
            let error = miette::Report::new(Task::read(&path).expect_err("refused"));
            let help = error.help().map(|help| help.to_string()).unwrap_or_default();
            let text = format!("{error}\n  help: {help}\n");
            text.replace(&path.display().to_string(), "task.toml")
        };
        let whole = "name = 'mine'\nkind = 'classification'\nfirst = 'text'\ntarget = 'label'\n\
                     labels = ['a', 'b']\nsplits = { dev = 'dev.csv' }\n";
        let without = |line: &str| whole.replace(line, "");
        let texts = [
            whole.replace("'classification'", "'clasification'"),
            whole.replace("target", "lable"),
            without("first = 'text'\n"),
            without("target = 'label'\n"),
            without(", 'b'"),
            whole.replace("'b'", "'a'"),
            format!("{whole}metrics = ['acuracy']"),
            format!("{whole}metrics = ['pearson']"),
            whole.replace("classification", "similarity"),
            whole.replace("classification", "regression"),
            format!("{}range = [5, 0]", whole.replace("classification", "regression")),
            whole.replace("{ dev = 'dev.csv' }", "{}"),
        ];
        insta::assert_snapshot!(texts.iter().map(|text| read(text)).collect::<String>());
        let unknown = Task::find("SST2").expect_err("unknown").to_string();
        assert_eq!(unknown, "there is no task `SST2`");
    }
}
