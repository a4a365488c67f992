//! Where the SuperPLM comes from.

use std::path::Path;

use atb_superplm::SuperPlm;
use atb_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::PipelineError;

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

/// The SuperPLM that the program carries; `assets/superplm-mini/README.md` says how it was
/// made.
mod mini {
    pub(super) const NAME: &str = "superplm-mini";
    pub(super) const CONFIG: &str = include_str!("../../assets/superplm-mini/config.json");
    pub(super) const WEIGHTS: &[u8] =
        include_bytes!("../../assets/superplm-mini/model.safetensors");
}

impl Weights {
    /// Loads the model folder `choice`; or, for `auto`, the SuperPLM that the program
    /// carries; or, for `teacher`, all-MiniLM-L6-v2, which is fetched if it is not there.
    ///
    /// # Errors
    /// [`PipelineError`] if the folder or the teacher's files are damaged or not to be had.
    pub fn load(choice: &str) -> Result<Self, PipelineError> {
        match choice {
            "auto" => {
                let tokenizer = Tokenizer::bert_uncased()?;
                let plm = SuperPlm::embedded(mini::NAME, mini::CONFIG, mini::WEIGHTS, tokenizer)?;
                let description = "superplm-mini, distilled from all-MiniLM-L6-v2".to_owned();
                Ok(Self { plm, origin: Origin { description, trained: true } })
            }
            "teacher" => Self::folder(
                &atb_fetch::teacher()?,
                "all-MiniLM-L6-v2, whose sub-models were never trained".to_owned(),
            ),
            folder => Self::folder(Path::new(folder), folder.to_owned()),
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

/// A teacher: the model folder `choice`, or all-MiniLM-L6-v2 for `auto`, which is fetched if it is
/// not there.
///
/// # Errors
/// [`PipelineError`] if its files are damaged or not to be had.
pub(crate) fn teacher(choice: &str) -> Result<SuperPlm, PipelineError> {
    let folder = match choice {
        "auto" => atb_fetch::teacher()?,
        folder => folder.into(),
    };
    Ok(SuperPlm::load(&folder)?)
}
