//! Reading the weights of a model folder by their Hugging Face names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::{MmapedSafetensors, SliceSafetensors};
use candle_core::{DType, Device, Tensor};

use crate::config::CONFIG_FILE;
use crate::{BertConfig, CheckpointError};

/// The weights file that is written, and preferred for reading.
pub const WEIGHTS_FILE: &str = "model.safetensors";
const PICKLE_FILE: &str = "pytorch_model.bin";

/// The configuration and the weights of a BERT folder: `model.safetensors` or, without
/// that, `pytorch_model.bin`.
///
/// Tensors are named as in Hugging Face's `BertModel` (`embeddings.LayerNorm.weight`),
/// whether the file has them so, under `bert.` or `electra.`, or in TensorFlow's manner
/// (`gamma` and `beta` in LayerNorm). A folder without pooler is complete: [`Checkpoint::has`] tells.
///
/// ```no_run
/// use std::path::Path;
/// use atb_checkpoint::Checkpoint;
///
/// let checkpoint = Checkpoint::open(Path::new("winner"))?;
/// println!("{}", checkpoint.config().architecture);
/// let (shape, values) = checkpoint.tensor("embeddings.LayerNorm.weight")?;
/// assert_eq!(shape, [values.len()]);
/// # Ok::<(), atb_checkpoint::CheckpointError>(())
/// ```
pub struct Checkpoint {
    folder: PathBuf,
    file: PathBuf,
    config: BertConfig,
    weights: Weights,
    /// From the Hugging Face name to the name in the file.
    names: BTreeMap<String, String>,
}

enum Weights {
    Safetensors(MmapedSafetensors),
    Pickle(PthTensors),
    Embedded { tensors: SliceSafetensors<'static>, bytes: &'static [u8] },
}

impl Checkpoint {
    /// Opens a model folder; tensors are read when they are asked for.
    ///
    /// # Errors
    /// What [`BertConfig::read`] reports, [`CheckpointError::NoWeights`], [`CheckpointError::Io`], and
    /// [`CheckpointError::Corrupt`] for a weights file that cannot be parsed.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let config = BertConfig::read(folder)?;
        let safetensors = folder.join(WEIGHTS_FILE);
        let pickle = folder.join(PICKLE_FILE);
        let (file, weights) = if safetensors.is_file() {
            let weights = open_safetensors(&safetensors)?;
            (safetensors, weights)
        } else if pickle.is_file() {
            let weights = open_pickle(&pickle)?;
            (pickle, weights)
        } else {
            return Err(CheckpointError::NoWeights { folder: folder.to_owned() });
        };
        Ok(Self::new(folder.to_owned(), file, config, weights))
    }

    /// A checkpoint that the program carries: the contents of `config.json` and
    /// `model.safetensors`; `name` stands for its folder in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], but for what only files can have.
    pub fn embedded(
        name: &str,
        config: &str,
        bytes: &'static [u8],
    ) -> Result<Self, CheckpointError> {
        let folder = PathBuf::from(name);
        let config = BertConfig::parse(&folder.join(CONFIG_FILE), config.as_bytes())?;
        let file = folder.join(WEIGHTS_FILE);
        let tensors = SliceSafetensors::new(bytes).map_err(|error| corrupt(&file, &error))?;
        Ok(Self::new(folder, file, config, Weights::Embedded { tensors, bytes }))
    }

    fn new(folder: PathBuf, file: PathBuf, config: BertConfig, weights: Weights) -> Self {
        let stored: Vec<String> = match &weights {
            Weights::Safetensors(tensors) => {
                tensors.tensors().into_iter().map(|(name, _)| name).collect()
            }
            Weights::Pickle(tensors) => tensors.tensor_infos().keys().cloned().collect(),
            Weights::Embedded { tensors, .. } => {
                tensors.tensors().into_iter().map(|(name, _)| name).collect()
            }
        };
        let names = stored.into_iter().map(|name| (canonical(&name), name)).collect();
        Self { folder, file, config, weights, names }
    }

    /// The folder's configuration.
    #[must_use]
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the file has a tensor of that Hugging Face name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Shape and values of a tensor, row by row; f16, bf16 and f64 become f32.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`], [`CheckpointError::Dtype`] for integers, [`CheckpointError::Corrupt`].
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), CheckpointError> {
        let tensor = self.load(name, None)?;
        Ok((tensor.dims().to_vec(), values_of(&tensor)?))
    }

    /// The values of a tensor that must have the given shape, row by row.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`], and [`CheckpointError::Shape`].
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let tensor = self.load(name, Some(shape))?;
        if tensor.dims() == shape {
            return values_of(&tensor);
        }
        Err(CheckpointError::Shape {
            path: self.file.clone(),
            name: name.to_owned(),
            found: tensor.dims().to_vec(),
            expected: shape.to_vec(),
        })
    }

    /// Checks that a vocabulary of so many entries is the one that the configuration says.
    ///
    /// # Errors
    /// [`CheckpointError::VocabularySize`].
    pub fn check_vocabulary(&self, entries: usize) -> Result<(), CheckpointError> {
        if entries == self.config.vocab_size {
            return Ok(());
        }
        Err(CheckpointError::VocabularySize {
            folder: self.folder.clone(),
            entries,
            vocab_size: self.config.vocab_size,
        })
    }

    fn load(&self, name: &str, expected: Option<&[usize]>) -> Result<Tensor, CheckpointError> {
        let missing = || CheckpointError::MissingTensor {
            path: self.file.clone(),
            name: name.to_owned(),
            expected: expected.map(<[usize]>::to_vec),
        };
        let stored = self.names.get(name).ok_or_else(missing)?;
        let damaged = |error| corrupt(&self.file, &error);
        let tensor = match &self.weights {
            Weights::Safetensors(tensors) => tensors.load(stored, &Device::Cpu).map_err(damaged)?,
            Weights::Pickle(tensors) => {
                tensors.get(stored).map_err(damaged)?.ok_or_else(missing)?
            }
            Weights::Embedded { tensors, .. } => {
                tensors.load(stored, &Device::Cpu).map_err(damaged)?
            }
        };
        match tensor.dtype() {
            DType::F32 | DType::F16 | DType::BF16 | DType::F64 => {
                tensor.to_dtype(DType::F32).map_err(CheckpointError::Tensor)
            }
            other => Err(CheckpointError::Dtype {
                path: self.file.clone(),
                name: name.to_owned(),
                found: other.as_str().to_owned(),
            }),
        }
    }

    /// SHA-256 of the weights file, in hexadecimal.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the file cannot be read any more.
    pub fn digest(&self) -> Result<String, CheckpointError> {
        if let Weights::Embedded { bytes, .. } = &self.weights {
            return Ok(atb_files::digest(bytes));
        }
        Ok(atb_files::digest_of_file(&self.file)?)
    }
}

/// The name in a plain `BertModel` of a tensor that a file calls `stored`.
fn canonical(stored: &str) -> String {
    let model = ["bert.", "electra."].iter().find_map(|model| stored.strip_prefix(model));
    let name = model.unwrap_or(stored);
    if let Some(norm) = name.strip_suffix("LayerNorm.gamma") {
        format!("{norm}LayerNorm.weight")
    } else if let Some(norm) = name.strip_suffix("LayerNorm.beta") {
        format!("{norm}LayerNorm.bias")
    } else {
        name.to_owned()
    }
}

fn open_safetensors(path: &Path) -> Result<Weights, CheckpointError> {
    readable(path)?;
    // SAFETY: the mapping is read only. Another process that cuts the file short while it
    // is mapped would end this one with a bus error, as for every memory-mapped model.
    let tensors = unsafe { MmapedSafetensors::new(path) };
    tensors.map(Weights::Safetensors).map_err(|error| corrupt(path, &error))
}

fn open_pickle(path: &Path) -> Result<Weights, CheckpointError> {
    readable(path)?;
    PthTensors::new(path, None).map(Weights::Pickle).map_err(|error| corrupt(path, &error))
}

/// Tells a file that may not be read from one that holds the wrong bytes.
fn readable(path: &Path) -> Result<(), CheckpointError> {
    Ok(fs_err::File::open(path).map(drop)?)
}

fn values_of(tensor: &Tensor) -> Result<Vec<f32>, CheckpointError> {
    let values = tensor.flatten_all().and_then(|flat| flat.to_vec1());
    values.map_err(CheckpointError::Tensor)
}

fn corrupt(path: &Path, error: &candle_core::Error) -> CheckpointError {
    let remedy = if path.ends_with(PICKLE_FILE) {
        "download or copy it again; if PyTorch older than 1.6 wrote it, save it as \
         model.safetensors with a current version"
    } else {
        "download or copy it again"
    };
    // candle's messages carry the path and, in debug settings, a backtrace after the cause.
    let message = error.to_string();
    let cause = message.lines().next().unwrap_or_default();
    let prefix = format!("path: {:?} ", path.display());
    let message = cause.strip_prefix(&prefix).unwrap_or(cause).to_owned();
    CheckpointError::Corrupt { path: path.to_owned(), message, remedy }
}
