//! What can be wrong with a model folder.

use std::path::PathBuf;

/// Why a model folder could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CheckpointError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{} is no model folder: it has no config.json", folder.display())]
    #[diagnostic(help(
        "name a folder with config.json, model.safetensors and vocab.txt, as Hugging Face has them"
    ))]
    NoConfig { folder: PathBuf },
    #[error("{} already exists and is not empty", folder.display())]
    #[diagnostic(help("remove it, or choose another folder"))]
    Exists { folder: PathBuf },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    #[diagnostic(help("use the config.json that came with the weights"))]
    Json { path: PathBuf, message: String },
    #[error("{}: `{key}` {problem}", path.display())]
    ConfigKey {
        path: PathBuf,
        key: &'static str,
        problem: String,
        #[help]
        help: Option<&'static str>,
    },
    #[error("{} holds neither model.safetensors nor pytorch_model.bin", folder.display())]
    #[diagnostic(help("put the model's weights there"))]
    NoWeights { folder: PathBuf },
    #[error("{} is cut short or damaged ({message})", path.display())]
    Corrupt {
        path: PathBuf,
        message: String,
        #[help]
        remedy: &'static str,
    },
    #[error("{} has no tensor `{name}`{}", path.display(), implied(expected.as_deref()))]
    MissingTensor { path: PathBuf, name: String, expected: Option<Vec<usize>> },
    #[error(
        "{}: tensor `{name}` has shape {found:?} where config.json implies {expected:?}",
        path.display()
    )]
    Shape { path: PathBuf, name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{}: tensor `{name}` is of type {found}, expected f32, f16, bf16 or f64", path.display())]
    Dtype { path: PathBuf, name: String, found: String },
    #[error("{}: tensor `{name}` is of type i8 and has no scales, `{scale}`", path.display())]
    #[diagnostic(help("write it by `atb extract --weights i8`, or save the weights as f32"))]
    NoScales { path: PathBuf, name: String, scale: String },
    #[error(
        "{}: the vocabulary has {entries} entries, config.json says vocab_size {vocab_size}",
        folder.display()
    )]
    #[diagnostic(help("use the vocab.txt that came with the weights"))]
    VocabularySize { folder: PathBuf, entries: usize, vocab_size: usize },
    #[error("{}: tensor `{name}` holds values that are not finite", path.display())]
    #[diagnostic(help("use weights from before the training that diverged, or save them as f32"))]
    NotFinite { path: PathBuf, name: String },
    #[error("{}: tensor `{name}` is not one of a BERT whose config.json has {layers} layers", path.display())]
    #[diagnostic(help("the tensor names of these layouts are read: {layouts}"))]
    UnknownTensor { path: PathBuf, name: String, layers: usize, layouts: String },
    #[error("{}: `{first}` and `{second}` are the same tensor under two names", path.display())]
    #[diagnostic(help("save the weights with one of them"))]
    SameTensor { path: PathBuf, first: String, second: String },
}

fn implied(expected: Option<&[usize]>) -> String {
    match expected {
        Some(shape) => format!(" (config.json implies one of shape {shape:?})"),
        None => String::new(),
    }
}
