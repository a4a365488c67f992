//! Which steps are done, on which inputs, and what they warned of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use atb_files::{check_schema, digest_of_parts, write_json};
use serde::{Deserialize, Serialize};

use crate::PipelineError;

const SCHEMA: u32 = 2;

/// `state.json` of a run: for each step that was begun its inputs, whether it was finished
/// and what it warned of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    schema: u32,
    #[serde(skip)]
    path: PathBuf,
    /// Whether the file was of a form that does not prove on which inputs a step was done.
    #[serde(skip)]
    unproven: bool,
    steps: BTreeMap<String, Begun>,
}

/// A step that was begun.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Begun {
    inputs: String,
    finished: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// The digest of a step's inputs in their canonical form, with the program's version.
pub(crate) fn inputs_digest(step: &str, inputs: &impl Serialize) -> Result<String, PipelineError> {
    let inputs = serde_json::to_string(inputs).map_err(std::io::Error::from)?;
    Ok(digest_of_parts(&[step, env!("CARGO_PKG_VERSION"), &inputs]))
}

impl State {
    /// Reads the state of the run in `folder`; a new one if there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, PipelineError> {
        let path = folder.join("state.json");
        let content = |problem: String| PipelineError::Content { path: path.clone(), problem };
        let text = match fs_err::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let steps = BTreeMap::new();
                return Ok(Self { schema: SCHEMA, path, unproven: false, steps });
            }
            text => text?,
        };
        let not_json = |error: serde_json::Error| content(error.to_string());
        let value: serde_json::Value = serde_json::from_str(&text).map_err(not_json)?;
        match value["schema"].as_u64() {
            // Its digests cannot be compared; which outputs are the run's own is known.
            Some(1) => {
                let names = value["steps"].as_object().into_iter().flat_map(|steps| steps.keys());
                let steps = names.map(|name| (name.clone(), Begun::default())).collect();
                Ok(Self { schema: SCHEMA, path, unproven: true, steps })
            }
            schema => {
                check_schema(path.display(), schema.unwrap_or_default(), SCHEMA)?;
                let state: Self = serde_json::from_value(value).map_err(not_json)?;
                Ok(Self { path, ..state })
            }
        }
    }

    /// Whether the state is one of an earlier version, whose finished steps are redone.
    pub(crate) fn is_unproven(&self) -> bool {
        self.unproven
    }

    /// Whether `step` was finished with these `inputs`.
    pub(crate) fn is_done(&self, step: &str, inputs: &str) -> bool {
        self.was_begun(step, inputs) && self.steps.get(step).is_some_and(|begun| begun.finished)
    }

    /// Whether the last time that `step` was begun was with these `inputs`, so that what is
    /// there of its output belongs to them.
    pub(crate) fn was_begun(&self, step: &str, inputs: &str) -> bool {
        self.steps.get(step).is_some_and(|begun| begun.inputs == inputs)
    }

    /// Whether `step` was ever begun, so that its outputs are this run's own.
    pub(crate) fn made(&self, step: &str) -> bool {
        self.steps.contains_key(step)
    }

    /// Notes that `step` begins. What it warned of is forgotten, unless it continues.
    pub(crate) fn begin(
        &mut self,
        step: &str,
        inputs: &str,
        continues: bool,
    ) -> Result<(), PipelineError> {
        let warnings = self.steps.remove(step).map_or(Vec::new(), |begun| begun.warnings);
        let warnings = if continues { warnings } else { Vec::new() };
        let begun = Begun { inputs: inputs.to_owned(), finished: false, warnings };
        self.steps.insert(step.to_owned(), begun);
        self.write()
    }

    /// Notes a warning of `step`, once.
    pub(crate) fn warn(&mut self, step: &str, text: &str) -> Result<(), PipelineError> {
        let begun = self.steps.entry(step.to_owned()).or_default();
        if begun.warnings.iter().any(|known| known == text) {
            return Ok(());
        }
        begun.warnings.push(text.to_owned());
        self.write()
    }

    /// What `step` warned of.
    pub(crate) fn warnings(&self, step: &str) -> &[String] {
        self.steps.get(step).map_or(&[], |begun| &begun.warnings)
    }

    /// Notes that `step` is finished.
    pub(crate) fn finish(&mut self, step: &str) -> Result<(), PipelineError> {
        self.steps.entry(step.to_owned()).or_default().finished = true;
        self.write()
    }

    fn write(&self) -> Result<(), PipelineError> {
        Ok(write_json(&self.path, self)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_step_is_done_once_it_is_finished_with_its_inputs() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a new one");
        let inputs = |parts: &[&str]| inputs_digest("fit", &parts).expect("a digest");
        let ab = inputs(&["a", "b"]);
        assert!(!state.made("fit"));
        state.begin("fit", &ab, false).expect("writes");
        let state = State::open(folder.path()).expect("reads");
        assert!(state.was_begun("fit", &ab) && !state.is_done("fit", &ab), "not finished");
        let mut state = state;
        state.finish("fit").expect("writes");
        let state = State::open(folder.path()).expect("reads");
        assert!(state.is_done("fit", &ab));
        assert!(!state.is_done("fit", &inputs(&["ab", ""])));
        assert!(state.made("fit") && !state.made("search"));
    }

    #[test]
    fn warnings_are_kept_once_each_until_the_step_begins_on_something_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a new one");
        state.begin("profile", "x", false).expect("writes");
        for _ in 0..2 {
            state.warn("profile", "hot").expect("writes");
        }
        let mut state = State::open(folder.path()).expect("reads");
        assert_eq!(state.warnings("profile"), ["hot"]);
        state.begin("profile", "x", true).expect("writes");
        assert_eq!(state.warnings("profile"), ["hot"]);
        state.begin("profile", "y", false).expect("writes");
        assert_eq!(state.warnings("profile"), [""; 0]);
    }

    #[test]
    fn a_state_of_the_first_form_says_whose_outputs_are_there_and_proves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = r#"{"schema": 1, "steps": {"extract": "0123"}}"#;
        fs::write(folder.path().join("state.json"), old).expect("writes");
        let state = State::open(folder.path()).expect("reads");
        assert!(state.is_unproven() && state.made("extract") && !state.made("fit"));
        assert!(!state.is_done("extract", "0123"));
    }

    #[test]
    fn a_damaged_state_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("state.json"), "{").expect("writes");
        let error = miette::Report::new(State::open(folder.path()).expect_err("damaged"));
        let help = error.help().map(|help| help.to_string()).unwrap_or_default();
        assert!(error.to_string().contains("state.json"), "{error}");
        assert!(help.contains("delete it"), "{help}");
    }
}
