//! The kinds of tasks.

use serde::Deserialize;

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A label for one or two texts.
    Classification,
    /// A number for one or two texts.
    Regression,
    /// The part of a text that answers a question.
    Span,
    /// How alike two texts are, by the cosine of their embeddings.
    Similarity,
    /// The second text of each pair among those of all, by the cosine of the embeddings.
    Retrieval,
}

impl Kind {
    /// Whether it needs embeddings and nothing that was fine-tuned for the task.
    #[must_use]
    pub fn is_of_embeddings(self) -> bool {
        matches!(self, Self::Similarity | Self::Retrieval)
    }
}
