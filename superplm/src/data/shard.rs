//! One file of packed sequences, memory-mapped.
//!
//! Layout: the eight bytes `ATBSHARD`, the length of the header (u32), the header (JSON),
//! then the token ids (u32), sequence after sequence; numbers are little-endian.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::DataError;

const MAGIC: &[u8; 8] = b"ATBSHARD";
/// Bytes before the header.
const PREFIX: usize = MAGIC.len() + size_of::<u32>();
/// Bytes of a token id.
const ID: usize = size_of::<u32>();

/// Version of the shard's and of the dataset's schema; newer ones are refused.
pub(super) const SCHEMA: u32 = 1;

/// What a shard was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) schema: u32,
    /// SHA-256 of the text.
    pub(super) text: String,
    /// SHA-256 of the vocabulary and the tokenizer's settings.
    pub(super) vocabulary: String,
    /// Tokens a sequence.
    pub(super) sequence_length: usize,
    /// Number of sequences.
    pub(super) sequences: usize,
    /// Tokens that are not padding.
    pub(super) tokens: u64,
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
        let failed = |source| DataError::Write { path: path.to_owned(), source };
        let json = serde_json::to_vec(header).map_err(|error| failed(error.into()))?;
        let mut bytes = Vec::with_capacity(PREFIX + json.len() + ids.len() * ID);
        bytes.extend(MAGIC);
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(json);
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        write_whole(path, &bytes)
    }

    /// Maps a shard and checks that it is whole.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let read = |source| DataError::Read { path: path.to_owned(), source };
        let corrupt = |problem: String| DataError::Corrupt { path: path.to_owned(), problem };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the mapping is read only, and shards are never changed in place. Another
        // process that cuts the file short would end this one with a bus error.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        if map.len() < PREFIX || !map.starts_with(MAGIC) {
            return Err(corrupt("it does not begin as a shard".to_owned()));
        }
        let mut length = [0; 4];
        length.copy_from_slice(&map[MAGIC.len()..PREFIX]);
        let start = PREFIX + u32::from_le_bytes(length) as usize;
        let json =
            map.get(PREFIX..start).ok_or_else(|| corrupt("it ends in its header".to_owned()))?;
        let header: Header = parse(path, json)?;
        let found = map.len() - start;
        let expected = header
            .sequences
            .checked_mul(header.sequence_length)
            .and_then(|ids| ids.checked_mul(ID))
            .ok_or_else(|| corrupt("its header has impossible sizes".to_owned()))?;
        if found != expected {
            return Err(corrupt(format!("it holds {found} bytes of ids instead of {expected}")));
        }
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

/// Parses JSON with a `schema`, which must not be newer than [`SCHEMA`].
pub(super) fn parse<T: for<'de> Deserialize<'de>>(
    path: &Path,
    json: &[u8],
) -> Result<T, DataError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let corrupt = |error: serde_json::Error| DataError::Corrupt {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    let Version { schema: found } = serde_json::from_slice(json).map_err(corrupt)?;
    if found > SCHEMA {
        return Err(DataError::NewerSchema { path: path.to_owned(), found, known: SCHEMA });
    }
    serde_json::from_slice(json).map_err(corrupt)
}

/// Writes a file whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    atb_files::write(path, bytes)
        .map_err(|source| DataError::Write { path: path.to_owned(), source })
}
