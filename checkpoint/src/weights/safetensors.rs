//! safetensors files, one or in shards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::SafeTensors;
use serde::Deserialize;

use super::{Dtype, Entry, Tensors, WeightsFile};
use crate::CheckpointError;

const REMEDY: &str = "download or copy it again";

/// Files that one model may be split into.
const MAX_SHARDS: usize = 1000;

/// Bytes of an index of shards.
const MAX_INDEX: u64 = 16 << 20;

/// What tensors the file holds.
pub(crate) fn tensors(file: &WeightsFile) -> Result<Tensors, CheckpointError> {
    let bytes = file.bytes();
    let parsed = SafeTensors::deserialize(bytes).map_err(|error| file.corrupt(error, REMEDY))?;
    parsed
        .iter()
        .map(|(name, view)| {
            let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
            let dtype = match view.dtype() {
                safetensors::Dtype::I8 => Dtype::I8,
                safetensors::Dtype::F16 => Dtype::F16,
                safetensors::Dtype::BF16 => Dtype::BF16,
                safetensors::Dtype::F32 => Dtype::F32,
                safetensors::Dtype::F64 => Dtype::F64,
                other => Dtype::Other(other.to_string().to_lowercase()),
            };
            let shape = view.shape().to_vec();
            let entry = Entry::row_by_row(&shape).and_then(|strides| {
                Entry::new(dtype, shape, strides, 0, (start, view.data().len()))
            });
            let lost = || file.corrupt(format_args!("tensor `{name}` does not lie in it"), REMEDY);
            Ok((name.to_owned(), entry.ok_or_else(lost)?))
        })
        .collect()
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that `index`, a `model.safetensors.index.json`, lists and the tensors in each.
pub(crate) fn shards(index: &Path) -> Result<Vec<(WeightsFile, Tensors)>, CheckpointError> {
    let corrupt = |message: String| CheckpointError::Corrupt {
        path: index.to_owned(),
        message,
        remedy: REMEDY,
    };
    if fs_err::metadata(index)?.len() > MAX_INDEX {
        return Err(corrupt(format!("it is larger than {} MiB", MAX_INDEX >> 20)));
    }
    let bytes = fs_err::read(index)?;
    let Index { weight_map } =
        serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
    let names: BTreeSet<&String> = weight_map.values().collect();
    if names.is_empty() {
        return Err(corrupt("it lists no file".to_owned()));
    }
    if names.len() > MAX_SHARDS {
        return Err(corrupt(format!("it lists {} files, at most {MAX_SHARDS}", names.len())));
    }
    let mut files = Vec::new();
    for name in names {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(corrupt(format!("`{name}` is not the name of a file in this folder")));
        }
        let file = WeightsFile::open(&index.with_file_name(name))?;
        let tensors = tensors(&file)?;
        if let Some((tensor, _)) =
            weight_map.iter().find(|(tensor, at)| *at == name && !tensors.contains_key(*tensor))
        {
            return Err(corrupt(format!("{name} does not hold tensor `{tensor}`")));
        }
        files.push((file, tensors));
    }
    Ok(files)
}
