//! Where the SuperPLM comes from.

use std::path::Path;

use atb_superplm::{EMBEDDINGS_FILE, SuperPlm, TeacherEmbeddings};
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

/// The SuperPLM that the program carries; `assets/superplm-minilm/README.md` says how it was
/// made.
mod carried {
    pub(super) const NAME: &str = "superplm-minilm";
    pub(super) const CONFIG: &str = include_str!("../../assets/superplm-minilm/config.json");
    pub(super) const WEIGHTS: &[u8] =
        include_bytes!("../../assets/superplm-minilm/model.safetensors");
    pub(super) const TEACHER_EMBEDDINGS: &[u8] =
        include_bytes!("../../assets/superplm-minilm/teacher-embeddings.safetensors");
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
                let (name, config) = (carried::NAME, carried::CONFIG);
                let plm = SuperPlm::embedded(name, config, carried::WEIGHTS, tokenizer)?;
                let path = Path::new(name).join(EMBEDDINGS_FILE);
                let embeddings = TeacherEmbeddings::parse(&path, carried::TEACHER_EMBEDDINGS)?;
                let plm = plm.with_teacher_embeddings(embeddings);
                let description = "superplm-minilm, distilled from all-MiniLM-L6-v2".to_owned();
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
pub fn teacher(choice: &str) -> Result<SuperPlm, PipelineError> {
    let folder = match choice {
        "auto" => atb_fetch::teacher()?,
        folder => folder.into(),
    };
    Ok(SuperPlm::load(&folder)?)
}
