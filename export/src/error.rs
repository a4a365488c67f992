//! What can go wrong between a model folder and a bundle.

use std::io;
use std::path::{Path, PathBuf};

use atb_checkpoint::CheckpointError;
use atb_graph::GraphError;
use atb_runtime::ModelError;
use atb_superplm::PlmError;
use atb_text::TextError;

/// Why a bundle could not be written, read or checked.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ExportError {
    /// the model folder is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// the model does not run in candle
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] PlmError),
    /// the graph could not be written
    #[error(transparent)]
    #[diagnostic(transparent)]
    Graph(#[from] GraphError),
    /// the bundle does not run in tract
    #[error(transparent)]
    #[diagnostic(transparent)]
    Runtime(#[from] ModelError),
    /// the tokenizer's files are at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    /// the file system said no
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// a bundle would overwrite something
    #[error("{} is there already and is no bundle; hint: choose another folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// a report that is none
    #[error("{}: {problem}; hint: write the bundle anew with `atb export`", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// a sequence longer than the model has positions for
    #[error("{}: the model has {positions} positions, sequence length {sequence} does not fit; hint: export at most {positions}", folder.display())]
    Positions {
        /// The model folder.
        folder: PathBuf,
        /// Its positions.
        positions: usize,
        /// The sequence length asked for.
        sequence: usize,
    },
    /// ONNX Runtime failed
    #[error("ONNX Runtime ({}): {problem}", library.display())]
    OnnxRuntime {
        /// The shared library.
        library: PathBuf,
        /// What it says.
        problem: String,
    },
    /// bundle and model folder do not belong together
    #[error("{} was not exported from {}: the one is {bundle_arch}, the other {model_arch}", bundle.display(), model.display())]
    OtherModel {
        /// The bundle.
        bundle: PathBuf,
        /// Its architecture.
        bundle_arch: String,
        /// The model folder.
        model: PathBuf,
        /// Its architecture.
        model_arch: String,
    },
}

impl ExportError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
