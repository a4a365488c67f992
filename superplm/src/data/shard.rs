//! One file of sequences, memory-mapped: safetensors with one tensor,
//! `input_ids` (u32, `[sequences, sequence_length]`), and in its metadata what it was made of.

use std::collections::HashMap;
use std::path::Path;

use atb_files::check_schema;
use fs_err::File;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;

use super::{DataError, Layout};

const TENSOR: &str = "input_ids";
/// Bytes of a token id.
const ID: usize = size_of::<u32>();
/// What files of schema 1, which were no safetensors, begin with.
const FORMER_BEGINNING: &[u8] = b"ATBSHARD";

/// Version of the shard's and of the dataset's schema.
pub(super) const SCHEMA: u32 = 2;

/// What a shard was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// SHA-256 of the text.
    pub(super) text: String,
    /// SHA-256 of the vocabulary and the tokenizer's settings.
    pub(super) vocabulary: String,
    /// Tokens per sequence.
    pub(super) sequence_length: usize,
    /// What a sequence holds.
    pub(super) layout: Layout,
    /// Number of sequences.
    pub(super) sequences: usize,
    /// Tokens that are not padding.
    pub(super) tokens: u64,
}

impl Header {
    fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([
            ("schema".to_owned(), SCHEMA.to_string()),
            ("text".to_owned(), self.text.clone()),
            ("vocabulary".to_owned(), self.vocabulary.clone()),
            ("tokens".to_owned(), self.tokens.to_string()),
            ("layout".to_owned(), self.layout.to_string()),
        ])
    }

    /// What the digest of a dataset is made of; the same for every schema of the files, so that
    /// a training goes on after its text was tokenized again.
    pub(super) fn identity(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Identity<'a> {
            schema: u32,
            text: &'a str,
            vocabulary: &'a str,
            sequence_length: usize,
            sequences: usize,
            tokens: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            layout: Option<Layout>,
        }
        let Self { text, vocabulary, .. } = self;
        let identity = Identity {
            schema: 1,
            text,
            vocabulary,
            sequence_length: self.sequence_length,
            sequences: self.sequences,
            tokens: self.tokens,
            layout: (self.layout != Layout::Packed).then_some(self.layout),
        };
        serde_json::to_vec(&identity).unwrap_or_default()
    }
}

/// A shard, mapped into memory.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) header: Header,
    map: Mmap,
    /// Offset of the first id.
    start: usize,
}

impl Shard {
    /// Writes a shard, whole or not at all; `ids` are `header.sequences` sequences.
    pub(super) fn write(path: &Path, header: &Header, ids: &[u32]) -> Result<(), DataError> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let shape = vec![header.sequences, header.sequence_length];
        let file = TensorView::new(Dtype::U32, shape, &bytes)
            .and_then(|view| safetensors::serialize([(TENSOR, view)], Some(header.metadata())))
            .map_err(std::io::Error::other)?;
        Ok(atb_files::write(path, &file)?)
    }

    /// Maps a shard and checks that it is whole.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let corrupt = |problem: String| DataError::Corrupt { path: path.to_owned(), problem };
        let file = File::open(path)?;
        // SAFETY: the mapping is read only, and shards are never changed in place. Another
        // process that cuts the file short would end this one with a bus error.
        let map = unsafe { Mmap::map(file.file()) }?;
        if map.starts_with(FORMER_BEGINNING) {
            return Err(DataError::FormerSchema { path: path.to_owned() });
        }
        let damaged = |error: safetensors::SafeTensorError| corrupt(error.to_string());
        let (header, start) = {
            let (_, metadata) = SafeTensors::read_metadata(&map).map_err(damaged)?;
            let tensors = SafeTensors::deserialize(&map).map_err(damaged)?;
            let ids = tensors.tensor(TENSOR).map_err(damaged)?;
            let (Dtype::U32, &[sequences, sequence_length]) = (ids.dtype(), ids.shape()) else {
                return Err(corrupt(format!("its `{TENSOR}` is not a matrix of u32")));
            };
            let told = metadata.metadata().as_ref();
            let tell = |key: &str| {
                let value = told.and_then(|told| told.get(key)).cloned();
                value.ok_or_else(|| corrupt(format!("its metadata has no `{key}`")))
            };
            let number = |key: &str| -> Result<u64, DataError> {
                let text = tell(key)?;
                text.parse().map_err(|_| corrupt(format!("its `{key}` is {text}")))
            };
            check_schema(path.display(), number("schema")?, SCHEMA)?;
            // Files from before there was a choice are packed and do not say so.
            let layout = match told.and_then(|told| told.get("layout")) {
                Some(name) => name
                    .parse()
                    .map_err(|expected| corrupt(format!("its `layout` is {name}: {expected}")))?,
                None => Layout::Packed,
            };
            let header = Header {
                layout,
                text: tell("text")?,
                vocabulary: tell("vocabulary")?,
                sequence_length,
                sequences,
                tokens: number("tokens")?,
            };
            (header, map.len() - ids.data().len())
        };
        Ok(Self { header, map, start })
    }

    /// The ids of a sequence, which must be one of the shard's.
    pub(super) fn sequence(&self, index: usize) -> impl Iterator<Item = u32> + '_ {
        let bytes = self.header.sequence_length * ID;
        let start = self.start + index * bytes;
        self.map[start..start + bytes].chunks_exact(ID).map(|id| {
            let mut bytes = [0; ID];
            bytes.copy_from_slice(id);
            u32::from_le_bytes(bytes)
        })
    }
}
