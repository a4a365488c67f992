//! Which steps are done, and on which inputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::PipelineError;

const SCHEMA: u32 = 1;

/// `state.json` of a run: for each finished step a digest of its inputs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    schema: u32,
    #[serde(skip)]
    path: PathBuf,
    steps: BTreeMap<String, String>,
}

impl State {
    /// Reads the state of the run in `folder`; a new one if there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, PipelineError> {
        let path = folder.join("state.json");
        let content = |problem: String| PipelineError::Content { path: path.clone(), problem };
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { schema: SCHEMA, path, steps: BTreeMap::new() })
            }
            Err(source) => Err(PipelineError::Io { path, source }),
            Ok(text) => {
                let state: Self =
                    serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
                if state.schema > SCHEMA {
                    return Err(content(format!("it is of the newer schema {}", state.schema)));
                }
                Ok(Self { path, ..state })
            }
        }
    }

    /// Whether `step` was finished with these `inputs`.
    pub(crate) fn is_done(&self, step: &str, inputs: &str) -> bool {
        self.steps.get(step).is_some_and(|known| known == inputs)
    }

    /// Whether `step` was ever finished, so that its outputs are this run's own.
    pub(crate) fn made(&self, step: &str) -> bool {
        self.steps.contains_key(step)
    }

    /// Notes that `step` is finished.
    pub(crate) fn finish(&mut self, step: &str, inputs: &str) -> Result<(), PipelineError> {
        self.steps.insert(step.to_owned(), inputs.to_owned());
        write_json(&self.path, self)
    }
}

/// Writes `value` to the file `path`, through a temporary file in the same folder.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PipelineError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| PipelineError::io(path)(error.into()))?;
    text.push('\n');
    atb_files::write(path, text.as_bytes()).map_err(PipelineError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atb_files::digest_of_parts as digest;

    #[test]
    fn finished_steps_are_remembered_with_their_inputs() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a new one");
        assert!(!state.made("fit"));
        state.finish("fit", &digest(&["a", "b"])).expect("writes");
        let state = State::open(folder.path()).expect("reads");
        assert!(state.is_done("fit", &digest(&["a", "b"])));
        assert!(!state.is_done("fit", &digest(&["ab", ""])));
        assert!(state.made("fit") && !state.made("search"));
    }

    #[test]
    fn a_damaged_state_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("state.json"), "{").expect("writes");
        let error = State::open(folder.path()).expect_err("damaged").to_string();
        assert!(error.contains("state.json") && error.contains("delete it"), "{error}");
    }
}
