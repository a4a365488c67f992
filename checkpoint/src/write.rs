//! Writing model folders, whole or not at all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use atb_files::Staging;
use safetensors::{Dtype, View};

use crate::weights::SCALE_SUFFIX;
use crate::{BertConfig, CONFIG_FILE, CheckpointError, WEIGHTS_FILE};

/// A matrix in a quarter of the bytes: each row in steps of its largest value's 127th part.
///
/// [`Checkpoint`](crate::Checkpoint) reads it as f32, given that the scales are written beside it
/// under the name that [`RowsI8::scale_name`] says.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsI8 {
    /// Rows and their width.
    pub shape: [usize; 2],
    steps: Vec<u8>,
    /// One step of each row.
    pub scales: Vec<f32>,
}

impl RowsI8 {
    /// Rounds `values`, rows of finite numbers one after the other, of which each has `width`.
    #[must_use]
    pub fn round(values: &[f32], width: usize) -> Self {
        let (mut steps, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
        for row in values.chunks(width.max(1)) {
            let largest = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
            steps.extend(row.iter().map(|value| ((value / scale).round() as i8).cast_unsigned()));
            scales.push(scale);
        }
        Self { shape: [scales.len(), width], steps, scales }
    }

    /// The name of the scales of the matrix `name`.
    #[must_use]
    pub fn scale_name(name: &str) -> String {
        format!("{name}{SCALE_SUFFIX}")
    }
}

impl View for RowsI8 {
    fn dtype(&self) -> Dtype {
        Dtype::I8
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.steps)
    }

    fn data_len(&self) -> usize {
        self.steps.len()
    }
}

/// A model folder in the making. It gets its name when it is published; dropped before, it
/// leaves nothing.
#[derive(Debug)]
pub struct NewFolder {
    staging: Staging,
    target: PathBuf,
}

impl NewFolder {
    /// Begins the folder `target`, which must not be there or be empty.
    ///
    /// # Errors
    /// [`CheckpointError::Exists`] and [`CheckpointError::Write`].
    pub fn create(target: &Path) -> Result<Self, CheckpointError> {
        Self::check_free(target)?;
        match Staging::beside(target) {
            Ok(staging) => Ok(Self { staging, target: target.to_owned() }),
            Err(cause) => Err(CheckpointError::Write { path: target.to_owned(), cause }),
        }
    }

    /// Checks that the folder `target` is not there or empty, for what is begun long before it is
    /// written.
    ///
    /// # Errors
    /// [`CheckpointError::Exists`].
    pub fn check_free(target: &Path) -> Result<(), CheckpointError> {
        let mut entries = fs_err::read_dir(target).into_iter().flatten();
        if entries.next().is_some() || target.is_file() {
            return Err(CheckpointError::Exists { folder: target.to_owned() });
        }
        Ok(())
    }

    /// Writes `config.json`.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn config(&self, config: &BertConfig) -> Result<(), CheckpointError> {
        self.text(CONFIG_FILE, &config.to_json())
    }

    /// Writes `model.safetensors`.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn weights<V: View>(
        &self,
        tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + Display, V)>,
    ) -> Result<(), CheckpointError> {
        self.tensors(WEIGHTS_FILE, tensors)
    }

    /// Writes the text file `name`.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn text(&self, name: &str, content: &str) -> Result<(), CheckpointError> {
        self.write(name, Ok(content.as_bytes()))
    }

    /// Writes the safetensors file `name`.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn tensors<V: View>(
        &self,
        name: &str,
        tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + Display, V)>,
    ) -> Result<(), CheckpointError> {
        // `transformers` refuses files whose header does not say what wrote them.
        let header = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        self.tensors_about(name, tensors, header)
    }

    /// Writes the safetensors file `name` with `metadata` in its header.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn tensors_about<V: View>(
        &self,
        name: &str,
        tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + Display, V)>,
        metadata: HashMap<String, String>,
    ) -> Result<(), CheckpointError> {
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(io::Error::other);
        self.write(name, bytes)
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn publish(self) -> Result<(), CheckpointError> {
        let path = &self.target;
        let named = self.staging.publish(path);
        named.map_err(|cause| CheckpointError::Write { path: path.clone(), cause })
    }

    fn write(
        &self,
        name: &str,
        bytes: io::Result<impl AsRef<[u8]>>,
    ) -> Result<(), CheckpointError> {
        // Not by way of fs-err, whose message would name a folder that will not be there.
        bytes
            .and_then(|bytes| std::fs::write(self.staging.path().join(name), bytes))
            .map_err(|cause| CheckpointError::Write { path: self.target.join(name), cause })
    }
}
