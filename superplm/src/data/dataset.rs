//! A prepared text: a folder of shards and the list of them.

use std::path::{Path, PathBuf};

use atb_files::check_schema;
use atb_text::Tokenizer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shard::{SCHEMA, Shard};
use super::{DataError, Layout};

/// Name of the list of shards; it is written last.
pub(super) const LIST_FILE: &str = "dataset.json";

/// The list of a dataset's shards.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) schema: u32,
    /// Tokens per sequence.
    pub(super) sequence_length: usize,
    /// What a sequence holds.
    #[serde(default)]
    pub(super) layout: Layout,
    /// SHA-256 of the vocabulary and the tokenizer's settings.
    pub(super) vocabulary: String,
    /// The text files, for people.
    pub(super) inputs: Vec<PathBuf>,
    /// File names of the shards, in the order of the text.
    pub(super) shards: Vec<String>,
}

impl List {
    fn parse(path: &Path, json: &[u8]) -> Result<Self, DataError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u64,
        }
        let corrupt = |error: serde_json::Error| DataError::Corrupt {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let Version { schema: found } = serde_json::from_slice(json).map_err(corrupt)?;
        check_schema(path.display(), found, SCHEMA)?;
        if found < u64::from(SCHEMA) {
            return Err(DataError::FormerSchema { path: path.to_owned() });
        }
        serde_json::from_slice(json).map_err(corrupt)
    }
}

/// Sequences of one length, memory-mapped: a dataset of any size takes no memory of
/// its own.
#[derive(Debug)]
pub struct Dataset {
    shards: Vec<Shard>,
    /// Number of the first sequence of each shard.
    first: Vec<usize>,
    sequences: usize,
    sequence_length: usize,
    layout: Layout,
    vocabulary: String,
    digest: String,
}

impl Dataset {
    /// Opens a folder that [`prepare`](super::prepare) made.
    ///
    /// # Errors
    /// [`DataError::Unfinished`], and [`DataError::Corrupt`], [`DataError::FormerSchema`],
    /// [`DataError::File`] or [`DataError::Io`] naming the file.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(LIST_FILE);
        let json = match fs_err::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DataError::Unfinished { path });
            }
            Err(error) => return Err(error.into()),
        };
        let list = List::parse(&path, &json)?;
        let mut dataset = Self {
            shards: Vec::new(),
            first: Vec::new(),
            sequences: 0,
            sequence_length: list.sequence_length,
            layout: list.layout,
            vocabulary: list.vocabulary,
            digest: String::new(),
        };
        let mut hasher = Sha256::new();
        for name in &list.shards {
            if Path::new(name).file_name() != Some(name.as_ref()) {
                let problem = format!("its shard `{name}` is no name of a file beside it");
                return Err(DataError::Corrupt { path, problem });
            }
            let path = folder.join(name);
            let shard = Shard::open(&path)?;
            let header = &shard.header;
            if (header.sequence_length, header.layout, &header.vocabulary)
                != (dataset.sequence_length, dataset.layout, &dataset.vocabulary)
            {
                let problem =
                    "it is of another sequence length, layout or vocabulary than the dataset";
                return Err(DataError::Corrupt { path, problem: problem.to_owned() });
            }
            hasher.update(header.identity());
            dataset.first.push(dataset.sequences);
            dataset.sequences += header.sequences;
            dataset.shards.push(shard);
        }
        if dataset.sequences == 0 {
            return Err(DataError::Corrupt { path, problem: "it lists no sequence".to_owned() });
        }
        dataset.digest = atb_files::hex(&hasher.finalize());
        Ok(dataset)
    }

    /// Number of sequences, at least one.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Tokens per sequence, special tokens included.
    #[must_use]
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    /// What a sequence holds.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Tokens of all sequences, padding excluded.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.shards.iter().map(|shard| shard.header.tokens).sum()
    }

    /// SHA-256, in hexadecimal, of what the dataset was made of: text, vocabulary, length.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether it was tokenized as `tokenizer` does it.
    #[must_use]
    pub fn is_of(&self, tokenizer: &Tokenizer) -> bool {
        self.vocabulary == vocabulary_digest(tokenizer)
    }

    /// The ids of a sequence, which must be less than [`Dataset::sequences`].
    pub(super) fn sequence(&self, index: usize) -> impl Iterator<Item = u32> + '_ {
        let shard = self.first.partition_point(|first| *first <= index) - 1;
        self.shards[shard].sequence(index - self.first[shard])
    }
}

/// SHA-256 of everything in a tokenizer that decides about token ids.
pub(super) fn vocabulary_digest(tokenizer: &Tokenizer) -> String {
    let mut hasher = Sha256::new();
    hasher.update(tokenizer.vocabulary_file());
    hasher.update(tokenizer.config_file(0));
    atb_files::hex(&hasher.finalize())
}
