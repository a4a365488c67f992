//! Cutting a sub-architecture out of the SuperPLM into an ordinary model folder.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use atb_checkpoint::{BertConfig, CONFIG_FILE, WEIGHTS_FILE};
use atb_files::Staging;
use atb_space::Architecture;
use candle_core::{DType, Tensor};

use crate::{PlmError, SuperPlm};

/// Writes the share of `arch` as a Hugging Face style folder: `config.json`,
/// `model.safetensors` (f32), `vocab.txt` and `tokenizer_config.json`.
///
/// [`SuperPlm::load`] takes the folder back as a model of its own, whose whole is `arch`.
/// The configuration names the architecture and what it was cut from. The KD projection's
/// share goes along where the SuperPLM has one. The folder appears whole or not at all.
///
/// # Errors
/// [`PlmError::DoesNotFit`], [`PlmError::Exists`] if `folder` is there and not empty (nothing
/// is overwritten), [`PlmError::Write`].
pub fn extract(plm: &SuperPlm, arch: &Architecture, folder: &Path) -> Result<(), PlmError> {
    write_folder(plm, plm.tensors_of(arch)?, arch, folder, |_| Ok(()))
}

/// As [`extract`], in half the space: weights in f16, and without the pooler, which neither
/// objective trains.
///
/// # Errors
/// As [`extract`].
pub fn extract_compact(plm: &SuperPlm, arch: &Architecture, folder: &Path) -> Result<(), PlmError> {
    let tensors = plm
        .tensors_of(arch)?
        .into_iter()
        .filter(|(name, _)| !name.starts_with("pooler."))
        .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F16)?)))
        .collect::<Result<_, PlmError>>()?;
    write_folder(plm, tensors, arch, folder, |_| Ok(()))
}

/// Writes `tensors`, which are those of `arch`, as [`extract`] does, with further files that
/// `extra` writes into the folder it is given, before the folder gets its name.
pub(crate) fn write_folder(
    plm: &SuperPlm,
    tensors: Vec<(String, Tensor)>,
    arch: &Architecture,
    folder: &Path,
    extra: impl FnOnce(&Path) -> Result<(), PlmError>,
) -> Result<(), PlmError> {
    let write_error = |path: &Path, message: &dyn std::fmt::Display| PlmError::Write {
        path: path.to_owned(),
        message: message.to_string(),
    };
    let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || folder.is_file() {
        return Err(PlmError::Exists { folder: folder.to_owned() });
    }
    let staging = Staging::beside(folder).map_err(|error| write_error(folder, &error))?;

    let config = BertConfig {
        architecture: arch.clone(),
        source: Some(plm.source().to_owned()),
        ..plm.config().clone()
    };
    let tokenizer = plm.tokenizer();
    for (name, content) in [
        (CONFIG_FILE, config.to_json()),
        ("vocab.txt", tokenizer.vocabulary_file()),
        ("tokenizer_config.json", tokenizer.config_file(config.max_position_embeddings)),
    ] {
        let path = staging.path().join(name);
        fs::write(path, content).map_err(|error| write_error(&folder.join(name), &error))?;
    }
    write_weights(&tensors, &staging.path().join(WEIGHTS_FILE))
        .map_err(|message| write_error(&folder.join(WEIGHTS_FILE), &message))?;
    extra(staging.path())?;

    staging.publish(folder).map_err(|error| write_error(folder, &error))
}

/// Writes tensors as safetensors.
pub(crate) fn write_weights(tensors: &[(String, Tensor)], path: &Path) -> Result<(), String> {
    let contiguous: Vec<(&str, Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.contiguous()?)))
        .collect::<candle_core::Result<_>>()
        .map_err(|error| error.to_string())?;
    // `transformers` refuses files whose header does not say what wrote them.
    let header = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = contiguous.iter().map(|(name, tensor)| (*name, tensor));
    let bytes = safetensors::serialize(views, Some(header)).map_err(|error| error.to_string())?;
    // Not `serialize_to_file`, whose file only its owner may read.
    fs::write(path, bytes).map_err(|error| error.to_string())
}
