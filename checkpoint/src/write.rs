//! Writing model folders, whole or not at all.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use atb_files::Staging;
use safetensors::View;

use crate::{BertConfig, CONFIG_FILE, CheckpointError, WEIGHTS_FILE};

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
        let mut entries = fs_err::read_dir(target).into_iter().flatten();
        if entries.next().is_some() || target.is_file() {
            return Err(CheckpointError::Exists { folder: target.to_owned() });
        }
        match Staging::beside(target) {
            Ok(staging) => Ok(Self { staging, target: target.to_owned() }),
            Err(cause) => Err(CheckpointError::Write { path: target.to_owned(), cause }),
        }
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
        self.write(name, safetensors::serialize(tensors, Some(header)).map_err(io::Error::other))
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
