//! Where the SuperPLM comes from.

use std::path::{Path, PathBuf};

use atb_space::Architecture;
use atb_superplm::SuperPlm;
use atb_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::{PipelineError, Reporter};

/// What a SuperPLM is, for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// One line for people.
    pub description: String,
    /// Whether its weights are trained; without that only latencies mean anything.
    pub trained: bool,
}

/// A SuperPLM with its origin.
pub struct Weights {
    /// The model.
    pub plm: SuperPlm,
    /// What it is.
    pub origin: Origin,
}

/// Largest architecture of the untrained stand-in: the teacher's.
const STAND_IN: &str = "6-384-1536-12-384";
/// Seed of its weights.
const STAND_IN_SEED: u64 = 0;

impl Weights {
    /// Loads the model folder `choice`, or, for `auto`, the teacher.
    ///
    /// # Errors
    /// [`PipelineError`] if the folder or the teacher's files are damaged or not to be had.
    pub fn load(choice: &str) -> Result<Self, PipelineError> {
        if choice == "auto" {
            let folder = atb_fetch::teacher()?;
            return Self::folder(&folder, "all-MiniLM-L6-v2, the teacher itself".to_owned());
        }
        let folder = PathBuf::from(choice);
        Self::folder(&folder, folder.display().to_string())
    }

    /// As [`Weights::load`], but where the teacher cannot be had `auto` gives an untrained
    /// model of its size and warns: every latency is then real, and the exported model is
    /// good for nothing else.
    ///
    /// # Errors
    /// [`PipelineError`] if the folder or the teacher's files are damaged.
    pub fn load_or_untrained(
        choice: &str,
        reporter: &mut dyn Reporter,
    ) -> Result<Self, PipelineError> {
        match Self::load(choice) {
            Err(PipelineError::Fetch(error)) => {
                reporter.warn(&format!(
                    "{error}. The run goes on with untrained weights of the same size: the \
                     latencies are real, but the exported model knows nothing"
                ));
                let arch: Architecture = STAND_IN.parse().map_err(|_| PipelineError::Setting {
                    key: "superplm",
                    value: STAND_IN.to_owned(),
                    expected: "an architecture",
                })?;
                let plm = SuperPlm::random(arch, Tokenizer::bert_uncased()?, STAND_IN_SEED)?;
                let description = "untrained, random weights".to_owned();
                Ok(Self { plm, origin: Origin { description, trained: false } })
            }
            loaded => loaded,
        }
    }

    fn folder(folder: &Path, description: String) -> Result<Self, PipelineError> {
        let plm = SuperPlm::load(folder)?;
        // A folder cut out of an untrained model says so.
        let cut_from = plm.config().source.as_deref().unwrap_or_default();
        let trained = !cut_from.starts_with("random:");
        Ok(Self { plm, origin: Origin { description, trained } })
    }
}
