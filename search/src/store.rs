//! Every fitness value ever computed, on disk: nothing is evaluated twice.
//!
//! JSON Lines, append-only: a header with the fitness and what it depends on, then one
//! architecture a line. An incomplete last line, as an interrupted write leaves it, is cut
//! off.

use std::collections::HashMap;
use std::path::Path;

use atb_files::{Appender, FileError, JsonLines, Lock};
use atb_space::Architecture;
use serde::{Deserialize, Serialize};

use crate::{Fitness, StoreError};

/// Version of the store's schema; a file of a newer one is refused.
const SCHEMA: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    schema: u32,
    fitness: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    arch: Architecture,
    fitness: f64,
}

/// Fitness values by architecture, in memory and, if opened on a file, on disk.
#[derive(Debug, Default)]
pub struct Store {
    values: HashMap<Architecture, f64>,
    file: Option<(Appender, Lock)>,
}

impl Store {
    /// An empty store that lives in memory only.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Opens the store `path` for `fitness`, or begins it. As long as it is open no other process
    /// opens it.
    ///
    /// # Errors
    /// [`StoreError`]; in particular [`StoreError::OtherFitness`] if its values are those
    /// of another fitness or depend on something that has changed.
    pub fn open(path: &Path, fitness: &dyn Fitness) -> Result<Self, StoreError> {
        let header =
            Header { schema: SCHEMA, fitness: fitness.name().to_owned(), digest: fitness.digest() };
        let lock = Lock::of_file(path)?;
        let lines = JsonLines::read_or_empty(path)?;
        let values =
            if lines.is_empty() { HashMap::new() } else { values_of(path, &lines, &header)? };
        Ok(Self { values, file: Some((lines.appender(&header)?, lock)) })
    }

    /// The value of an architecture, if it was evaluated.
    #[must_use]
    pub fn get(&self, arch: &Architecture) -> Option<f64> {
        self.values.get(arch).copied()
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing was evaluated yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Keeps a value, on disk before this returns.
    ///
    /// # Errors
    /// [`StoreError::File`]; the file is then as it was.
    pub fn insert(&mut self, arch: &Architecture, fitness: f64) -> Result<(), StoreError> {
        if let Some((file, _)) = &mut self.file {
            file.append(&Line { arch: arch.clone(), fitness })?;
        }
        self.values.insert(arch.clone(), fitness);
        Ok(())
    }
}

fn values_of(
    path: &Path,
    lines: &JsonLines,
    expected: &Header,
) -> Result<HashMap<Architecture, f64>, StoreError> {
    let header: Header = lines
        .header(SCHEMA, "the header of a fitness store")
        .map_err(|error| of_store(path, error))?;
    if (&header.fitness, &header.digest) != (&expected.fitness, &expected.digest) {
        let text = |header: &Header| format!("{} {}", header.fitness, header.digest);
        let (there, here) = (text(&header), text(expected));
        return Err(StoreError::OtherFitness { path: path.to_owned(), there, here });
    }
    Ok(evaluations_of(path, lines)?.into_iter().collect())
}

/// The values of the store `path`, whatever its fitness, in the order in which they were computed.
///
/// # Errors
/// [`StoreError`] if it is no store, or of a newer version.
pub fn evaluations(path: &Path) -> Result<Vec<(Architecture, f64)>, StoreError> {
    let lines = JsonLines::read(path)?;
    let _: Header = lines
        .header(SCHEMA, "the header of a fitness store")
        .map_err(|error| of_store(path, error))?;
    evaluations_of(path, &lines)
}

fn evaluations_of(path: &Path, lines: &JsonLines) -> Result<Vec<(Architecture, f64)>, StoreError> {
    lines
        .lines()
        .map(|line| {
            let line: Line =
                line.parse("a fitness value").map_err(|error| of_store(path, error))?;
            Ok((line.arch, line.fitness))
        })
        .collect()
}

/// What is wrong with a file, with what to do about a store.
fn of_store(path: &Path, error: FileError) -> StoreError {
    let path = path.to_owned();
    match error {
        FileError::Line { line, expected, problem, .. } => {
            StoreError::Line { path, line, expected, problem }
        }
        FileError::Header { expected, problem, .. } => {
            StoreError::Line { path, line: 1, expected, problem }
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::EvaluationError;

    struct Loss(&'static str);

    impl Fitness for Loss {
        fn name(&self) -> &str {
            "loss"
        }
        fn digest(&self) -> String {
            self.0.to_owned()
        }
        fn evaluate(&self, _arch: &Architecture) -> Result<f64, EvaluationError> {
            Ok(0.0)
        }
    }

    #[test]
    fn values_survive_an_interruption() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fitness.jsonl");
        let archs: Vec<Architecture> =
            ["1-128-256-2-128", "2-128-[256,512]-2-128"].map(|id| id.parse().expect(id)).to_vec();
        let mut store = Store::open(&path, &Loss("a")).expect("begins");
        store.insert(&archs[0], 0.1).expect("keeps");
        store.insert(&archs[1], 0.3).expect("keeps");
        drop(store);
        let mut bytes = fs::read(&path).expect("reads");
        bytes.truncate(bytes.len() - 5);
        fs::write(&path, &bytes).expect("tears the last line");

        let mut store = Store::open(&path, &Loss("a")).expect("opens");
        assert_eq!((store.get(&archs[0]), store.get(&archs[1])), (Some(0.1), None));
        store.insert(&archs[1], 0.2).expect("keeps");
        drop(store);
        let store = Store::open(&path, &Loss("a")).expect("opens");
        assert_eq!((store.len(), store.get(&archs[1])), (2, Some(0.2)));
        let error = Store::open(&path, &Loss("a")).expect_err("it is open").to_string();
        assert!(error.contains("is writing to"), "{error}");
        drop(store);

        let error = Store::open(&path, &Loss("b")).expect_err("another fitness").to_string();
        assert!(error.contains("holds values of another fitness (loss a, now loss b)"), "{error}");
        let text = fs::read_to_string(&path).expect("reads");
        fs::write(&path, text.replace("0.1", "high")).expect("writes");
        let error = Store::open(&path, &Loss("a")).expect_err("not a number").to_string();
        assert!(error.contains("line 2 is not a fitness value: expected value"), "{error}");
        fs::write(&path, text.replace("\"schema\":1", "\"schema\":9")).expect("writes");
        let error = Store::open(&path, &Loss("a")).expect_err("newer").to_string();
        assert!(
            error.contains("line 1 has schema 9, this version of atb reads up to 1"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_something_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        fs::write(&path, "my notes\n").expect("writes");
        let error = Store::open(&path, &Loss("a")).expect_err("no store").to_string();
        assert!(error.contains("line 1 is not the header of a fitness store"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "my notes\n");
    }
}
