//! Cutting a sub-architecture out of the SuperPLM into an ordinary model folder.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use atb_checkpoint::{BertConfig, NewFolder, RowsI8};
use atb_space::Architecture;
use candle_core::{DType, Device, Tensor};
use safetensors::View;

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
    extract_as(plm, arch, Storage::F32, true, folder)
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 4 bytes a value.
    #[default]
    F32,
    /// 2 bytes a value.
    F16,
    /// 1 byte a value of a matrix, a scale for each of its rows ([`RowsI8`]); the rest in f16.
    /// Only [`SuperPlm::load`] and what is built on [`atb_checkpoint`] read such a folder.
    I8,
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        })
    }
}

impl FromStr for Storage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::F32, Self::F16, Self::I8]
            .into_iter()
            .find(|storage| storage.to_string() == name)
            .ok_or_else(|| "expected `f32`, `f16` or `i8`".to_owned())
    }
}

/// As [`extract`], with weights as `storage` says, and without the pooler, which no objective
/// of one-shot training trains, if `pooler` is false. What the SuperPLM keeps of its teacher goes
/// along with its whole.
///
/// # Errors
/// As [`extract`].
pub fn extract_as(
    plm: &SuperPlm,
    arch: &Architecture,
    storage: Storage,
    pooler: bool,
    folder: &Path,
) -> Result<(), PlmError> {
    let mut written = Vec::new();
    for (name, tensor) in plm.tensors_of(arch)? {
        if !pooler && name.starts_with("pooler.") {
            continue;
        }
        match storage {
            Storage::F32 => written.push((name, Written::Tensor(tensor.contiguous()?))),
            Storage::I8 if tensor.rank() == 2 => {
                let width = tensor.dim(1)?;
                let rows = RowsI8::round(&tensor.flatten_all()?.to_vec1()?, width);
                let scales = Tensor::from_slice(&rows.scales, rows.scales.len(), &Device::Cpu)?;
                written.push((RowsI8::scale_name(&name), Written::Tensor(scales)));
                written.push((name, Written::Rows(rows)));
            }
            Storage::F16 | Storage::I8 => {
                written.push((name, Written::Tensor(tensor.to_dtype(DType::F16)?.contiguous()?)));
            }
        }
    }
    let new = begin_folder(plm, written, arch, folder)?;
    if let (Some(embeddings), true) = (plm.teacher_embeddings(), arch == plm.architecture()) {
        embeddings.write(&new)?;
    }
    Ok(new.publish()?)
}

/// A tensor as it is written.
enum Written {
    Tensor(Tensor),
    Rows(RowsI8),
}

impl View for Written {
    fn dtype(&self) -> safetensors::Dtype {
        match self {
            Self::Tensor(tensor) => View::dtype(&tensor),
            Self::Rows(rows) => rows.dtype(),
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::Rows(rows) => &rows.shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Tensor(tensor) => Cow::Owned(View::data(&tensor).into_owned()),
            Self::Rows(rows) => rows.data(),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::Tensor(tensor) => View::data_len(&tensor),
            Self::Rows(rows) => rows.data_len(),
        }
    }
}

/// Writes `tensors`, which are those of `arch`, as [`extract`] does, into a folder that
/// further files may be added to before it is published.
pub(crate) fn begin_folder<V: View>(
    plm: &SuperPlm,
    tensors: impl IntoIterator<Item = (String, V)>,
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
    new.weights(tensors)?;
    Ok(new)
}

/// The tensors as they can be written.
pub(crate) fn contiguous(
    tensors: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>, PlmError> {
    tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.contiguous()?))).collect()
}
