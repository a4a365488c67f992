//! `bundle.json`: what a bundle's outputs mean, and its parts.

use serde::{Deserialize, Serialize};

/// Name of the manifest in a bundle.
pub const MANIFEST_FILE: &str = "bundle.json";

/// Version of the manifest's schema; a bundle of a newer one is refused.
pub const MANIFEST_SCHEMA: u32 = 1;

/// What an app must know of a bundle to answer in its own terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the schema, [`MANIFEST_SCHEMA`] when written by this version.
    pub schema: u32,
    /// The model's architecture, for people.
    #[serde(default)]
    pub architecture: String,
    /// Names of the labels that a classifier's logits stand for, in their order; empty where
    /// the model names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How a classifier's logits become probabilities.
    #[serde(default)]
    pub activation: Activation,
    /// Least and largest score of a model that gives a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_range: Option<[f32; 2]>,
    /// What an embedding is.
    #[serde(default)]
    pub embedding: Embedding,
    /// What an app reads.
    pub parts: Vec<Part>,
}

/// How logits become probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// A text has exactly one of the labels.
    #[default]
    Softmax,
    /// A text has any number of the labels.
    Sigmoid,
}

/// Which tokens' states make an embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean over all tokens that are not padding.
    #[default]
    Mean,
    /// The first token.
    First,
}

/// What an embedding is. An output that is an embedding already is not pooled again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Embedding {
    /// How it comes from the states of tokens.
    pub pooling: Pooling,
    /// Whether it is of length one.
    pub normalised: bool,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name, without a folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// What is wrong with its values, if anything is.
    pub(crate) fn problem(&self) -> Option<String> {
        for (number, part) in self.parts.iter().enumerate() {
            if !is_plain(&part.name) {
                return Some(format!("a part cannot be called {:?}", part.name));
            }
            if self.parts[..number].iter().any(|other| other.name == part.name) {
                return Some(format!("the part {} is listed twice", part.name));
            }
        }
        match self.score_range {
            Some([least, most]) if !(least < most && (most - least).is_finite()) => {
                Some(format!("the scores from {least} to {most} are no range"))
            }
            _ => None,
        }
    }
}

/// Whether a name is that of a file in the bundle itself, on every system.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(plain)
}
