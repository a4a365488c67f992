//! Reading the weights of a model folder by their Hugging Face names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::CONFIG_FILE;
use crate::layout::{self, Unclear};
use crate::parameters::{Parameters, axes, shape};
use crate::weights::{
    Dtype, Entry, SCALE_SUFFIX, Tensors, WeightsFile, pickled_tensors, shards, tensors,
};
use crate::{BertConfig, CheckpointError};

/// The weights file that is written, and preferred for reading.
pub const WEIGHTS_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";
const PICKLE_FILE: &str = "pytorch_model.bin";

/// The configuration and the weights of a BERT folder: the first of `model.safetensors`, its
/// shards (`model.safetensors.index.json`) and `pytorch_model.bin` that it has.
///
/// Tensors are named as in Hugging Face's `BertModel` (`embeddings.LayerNorm.weight`),
/// whichever of the known layouts the file has. Shapes are checked when the folder is
/// opened, values when they are read. A folder without pooler is complete:
/// [`Checkpoint::has`] tells.
pub struct Checkpoint {
    folder: PathBuf,
    config: BertConfig,
    files: Vec<WeightsFile>,
    /// By Hugging Face name.
    tensors: BTreeMap<String, Stored>,
}

/// Where a tensor is.
struct Stored {
    /// Which file.
    file: usize,
    /// Where in it.
    entry: Entry,
    /// Of an i8 tensor, which file its scales are in, and where.
    scales: Option<(usize, Entry)>,
}

impl Checkpoint {
    /// Opens a model folder; tensors are read when they are asked for.
    ///
    /// # Errors
    /// What [`BertConfig::read`] reports; [`CheckpointError::NoWeights`], and
    /// [`CheckpointError::Corrupt`] for a weights file that cannot be parsed;
    /// [`CheckpointError::UnknownTensor`] and [`CheckpointError::SameTensor`] for names that
    /// are not those of a BERT; [`CheckpointError::MissingTensor`], [`CheckpointError::Shape`]
    /// and [`CheckpointError::Dtype`] for tensors that are not what the configuration says.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let config = BertConfig::read(folder)?;
        let path = |name| folder.join(name);
        let files = if path(WEIGHTS_FILE).is_file() {
            let file = WeightsFile::open(&path(WEIGHTS_FILE))?;
            let tensors = tensors(&file)?;
            vec![(file, tensors)]
        } else if path(INDEX_FILE).is_file() {
            shards(&path(INDEX_FILE))?
        } else if path(PICKLE_FILE).is_file() {
            let file = WeightsFile::open(&path(PICKLE_FILE))?;
            let tensors = pickled_tensors(&file)?;
            vec![(file, tensors)]
        } else {
            return Err(CheckpointError::NoWeights { folder: folder.to_owned() });
        };
        Self::new(folder.to_owned(), config, files)
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
        let file = WeightsFile::embedded(folder.join(WEIGHTS_FILE), bytes);
        let tensors = tensors(&file)?;
        Self::new(folder, config, vec![(file, tensors)])
    }

    fn new(
        folder: PathBuf,
        config: BertConfig,
        files: Vec<(WeightsFile, Tensors)>,
    ) -> Result<Self, CheckpointError> {
        let (files, found): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let mut places: BTreeMap<String, (usize, Entry)> = BTreeMap::new();
        for (number, tensors) in found.into_iter().enumerate() {
            for (name, entry) in tensors {
                if let Some((_, _)) = places.insert(name.clone(), (number, entry)) {
                    let path = files[number].path.clone();
                    return Err(CheckpointError::SameTensor {
                        path,
                        first: name.clone(),
                        second: name,
                    });
                }
            }
        }
        let mut checkpoint = Self { folder, config, files, tensors: BTreeMap::new() };
        let mut stored = checkpoint.with_scales(places)?;
        let names = layout::names(stored.keys(), &checkpoint.config).map_err(|unclear| {
            let path = |name: &String| match stored.get(name) {
                Some(stored) => checkpoint.files[stored.file].path.clone(),
                None => checkpoint.folder.clone(),
            };
            match unclear {
                Unclear::Unknown(name) => CheckpointError::UnknownTensor {
                    path: path(&name),
                    name,
                    layers: checkpoint.config.architecture.num_layers(),
                    layouts: layout::known(),
                },
                Unclear::Twice(first, second) => {
                    CheckpointError::SameTensor { path: path(&second), first, second }
                }
            }
        })?;
        checkpoint.tensors = names
            .into_iter()
            .filter_map(|(name, in_file)| Some((name, stored.remove(&in_file)?)))
            .collect();
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Tensors by their names in the files, each i8 tensor with the scales that it must have.
    fn with_scales(
        &self,
        mut places: BTreeMap<String, (usize, Entry)>,
    ) -> Result<BTreeMap<String, Stored>, CheckpointError> {
        let mut scales = BTreeMap::new();
        for (name, (file, entry)) in &places {
            if entry.dtype != Dtype::I8 {
                continue;
            }
            let path = self.files[*file].path.clone();
            let expected = entry.shape.get(..1).unwrap_or_default();
            let scale = format!("{name}{SCALE_SUFFIX}");
            match places.get(&scale) {
                Some((_, found)) if matches!(found.dtype, Dtype::I8 | Dtype::Other(_)) => {
                    let found = found.dtype.to_string();
                    return Err(CheckpointError::Dtype { path, name: scale, found });
                }
                Some((_, found)) if found.shape != expected => {
                    return Err(CheckpointError::Shape {
                        path,
                        name: scale,
                        found: found.shape.clone(),
                        expected: expected.to_vec(),
                    });
                }
                Some(_) => drop(scales.insert(name.clone(), scale)),
                None => return Err(CheckpointError::NoScales { path, name: name.clone(), scale }),
            }
        }
        let mut scales: BTreeMap<String, (usize, Entry)> = scales
            .into_iter()
            .filter_map(|(name, scale)| Some((name, places.remove(&scale)?)))
            .collect();
        let with_scales = |(name, (file, entry)): (String, (usize, Entry))| {
            let scales = scales.remove(&name);
            (name, Stored { file, entry, scales })
        };
        Ok(places.into_iter().map(with_scales).collect())
    }

    /// Checks that every tensor of the encoder is there, and type and shape of all.
    fn check(&self) -> Result<(), CheckpointError> {
        let layers = self.config.architecture.num_layers();
        let pooler = self.has("pooler.dense.weight");
        Parameters::collect(layers, pooler, |name, axes| {
            self.entry(name, Some(&shape(axes, &self.config))).map(drop)
        })?;
        for (name, stored) in &self.tensors {
            if let Some(axes) = axes(name, &stored.entry.shape, &self.config) {
                self.entry(name, Some(&shape(&axes, &self.config)))?;
            }
        }
        Ok(())
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
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor, if the file has it.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.entry.shape.as_slice())
    }

    /// Shape and values of a tensor, row by row; i8, f16, bf16 and f64 become f32.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`], and [`CheckpointError::NotFinite`].
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), CheckpointError> {
        let stored = self.entry(name, None)?;
        Ok((stored.entry.shape.clone(), self.read(name, stored)?))
    }

    /// The values of a tensor that must have the given shape, row by row.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`], and [`CheckpointError::Shape`].
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        self.read(name, self.entry(name, Some(shape))?)
    }

    /// The values of a tensor, every one of them finite.
    fn read(&self, name: &str, stored: &Stored) -> Result<Vec<f32>, CheckpointError> {
        let mut values = read(&self.files[stored.file], name, &stored.entry)?;
        if let Some((file, entry)) = &stored.scales {
            let scales = read(&self.files[*file], &format!("{name}{SCALE_SUFFIX}"), entry)?;
            let width = (values.len() / scales.len().max(1)).max(1);
            for (row, scale) in values.chunks_exact_mut(width).zip(scales) {
                row.iter_mut().for_each(|value| *value *= scale);
            }
        }
        Ok(values)
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

    fn entry(&self, name: &str, expected: Option<&[usize]>) -> Result<&Stored, CheckpointError> {
        let Some(stored) = self.tensors.get(name) else {
            return Err(CheckpointError::MissingTensor {
                path: self.files[0].path.clone(),
                name: name.to_owned(),
                expected: expected.map(<[usize]>::to_vec),
            });
        };
        let (entry, name) = (&stored.entry, name.to_owned());
        let path = self.files[stored.file].path.clone();
        if let Dtype::Other(found) = &entry.dtype {
            return Err(CheckpointError::Dtype { path, name, found: found.clone() });
        }
        match expected {
            Some(expected) if entry.shape != expected => Err(CheckpointError::Shape {
                path,
                name,
                found: entry.shape.clone(),
                expected: expected.to_vec(),
            }),
            _ => Ok(stored),
        }
    }

    /// SHA-256 of the weights file, in hexadecimal; of shards, over those of all.
    #[must_use]
    pub fn digest(&self) -> String {
        let digests: Vec<String> = self.files.iter().map(WeightsFile::digest).collect();
        match digests.as_slice() {
            [digest] => digest.clone(),
            digests => {
                atb_files::digest_of_parts(&digests.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }
}

/// The values of a tensor of `file`, every one of them finite.
fn read(file: &WeightsFile, name: &str, entry: &Entry) -> Result<Vec<f32>, CheckpointError> {
    let (path, name) = (file.path.clone(), name.to_owned());
    let Some(values) = file.values(entry) else {
        return Err(CheckpointError::Dtype { path, name, found: entry.dtype.to_string() });
    };
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(CheckpointError::NotFinite { path, name })
    }
}
