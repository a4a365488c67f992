//! What can go wrong between a model folder and a bundle.

use std::path::PathBuf;

use atb_bundle::BundleError;
use atb_checkpoint::CheckpointError;
use atb_files::{FileError, JsonProblem};
use atb_graph::{ConfigError, GraphError};
use atb_onnx_runtime::OnnxRuntimeError;
use atb_runtime::ModelError;
use atb_text::TextError;

/// Why a bundle could not be written, read or checked.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ExportError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Heads(#[from] ConfigError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    TooHeavy(#[from] atb_space::TooHeavy),
    #[error("there is no head `{name}`")]
    #[diagnostic(help("the heads are {}", known.join(", ")))]
    UnknownHead { name: String, known: Vec<&'static str> },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Runtime(#[from] ModelError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    OnnxRuntime(#[from] OnnxRuntimeError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{} is not a regular file", path.display())]
    #[diagnostic(help("write the bundle again with `atb export`"))]
    NoFile { path: PathBuf },
    #[error("{} exists and is not a bundle", path.display())]
    #[diagnostic(help("choose another folder"))]
    Occupied { path: PathBuf },
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help("write the bundle again with `atb export`"))]
    Report { path: PathBuf, problem: JsonProblem },
    #[error("{}: the model has {positions} positions, sequence length {sequence} does not fit", folder.display())]
    #[diagnostic(help("export with a sequence length of at most {positions}"))]
    Positions { folder: PathBuf, positions: usize, sequence: usize },
    #[error("{}: `id2label` names {labels} labels, but the head `{head}` tells {width} apart", path.display())]
    #[diagnostic(help("correct `id2label`, or remove it to export without names"))]
    Labels { path: PathBuf, labels: usize, head: &'static str, width: usize },
    #[error("{} was not exported from {}: the one is {bundle_arch}, the other {model_arch}", bundle.display(), model.display())]
    OtherModel { bundle: PathBuf, bundle_arch: String, model: PathBuf, model_arch: String },
    #[error("{}: report.json says that the model {said}, but it {found}", bundle.display())]
    #[diagnostic(help("write the bundle again with `atb export`"))]
    OtherFile { bundle: PathBuf, said: String, found: String },
}
