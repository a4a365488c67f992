//! Cutting a sub-architecture out of the SuperPLM into an ordinary model folder.

use std::path::Path;

use atb_checkpoint::{BertConfig, NewFolder};
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
/// [`PlmError::DoesNotFit`], and [`PlmError::Checkpoint`] if `folder` is there and not empty
/// (nothing is overwritten) or cannot be written.
pub fn extract(plm: &SuperPlm, arch: &Architecture, folder: &Path) -> Result<(), PlmError> {
    Ok(begin_folder(plm, &plm.tensors_of(arch)?, arch, folder)?.publish()?)
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
        .collect::<Result<Vec<_>, PlmError>>()?;
    Ok(begin_folder(plm, &tensors, arch, folder)?.publish()?)
}

/// Writes `tensors`, which are those of `arch`, as [`extract`] does, into a folder that
/// further files may be added to before it is published.
pub(crate) fn begin_folder(
    plm: &SuperPlm,
    tensors: &[(String, Tensor)],
    arch: &Architecture,
    folder: &Path,
) -> Result<NewFolder, PlmError> {
    let new = NewFolder::create(folder)?;
    let config = BertConfig {
        architecture: arch.clone(),
        source: Some(plm.source().to_owned()),
        ..plm.config().clone()
    };
    let tokenizer = plm.tokenizer();
    new.config(&config)?;
    new.text("vocab.txt", &tokenizer.vocabulary_file())?;
    let tokenizer_config = tokenizer.config_file(config.max_position_embeddings);
    new.text("tokenizer_config.json", &tokenizer_config)?;
    new.weights(contiguous(tensors)?)?;
    Ok(new)
}

/// The tensors as they can be written.
pub(crate) fn contiguous(tensors: &[(String, Tensor)]) -> Result<Vec<(&str, Tensor)>, PlmError> {
    let tensors = tensors.iter().map(|(name, tensor)| Ok((name.as_str(), tensor.contiguous()?)));
    tensors.collect()
}
