//! What an app takes: the parts of a bundle, their digests, and one file of them.
//!
//! A bundle is a folder, or one file: a zip archive whose members are not compressed and begin
//! at multiples of [`ALIGNMENT`] bytes, so that they are read where they lie, also in the middle
//! of another file. Its [`Manifest`], `bundle.json`, says what the model's outputs mean and
//! lists the parts that an app reads, each with its size and digest. Only what it lists is ever
//! read, and only by names without a folder.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_bundle::{Bundle, pack};
//!
//! pack(Path::new("bundle"), Path::new("bundle.atb"))?;
//! let bundle = Bundle::open(Path::new("bundle.atb"))?;
//! bundle.check_digests()?;
//! println!("{} bytes", bundle.part("model.onnx")?.len());
//! # Ok::<(), atb_bundle::BundleError>(())
//! ```

mod bundle;
mod bytes;
mod error;
mod manifest;

pub use bundle::{ALIGNMENT, Bundle, pack, write_manifest};
pub use bytes::Bytes;
pub use error::BundleError;
pub use manifest::{
    Activation, Embedding, MANIFEST_FILE, MANIFEST_SCHEMA, Manifest, Part, Pooling,
};

/// The model.
pub const MODEL_FILE: &str = "model.onnx";

/// The vocabulary.
pub const VOCABULARY_FILE: &str = "vocab.txt";

/// How the tokenizer treats text.
pub const TOKENIZER_FILE: &str = "tokenizer_config.json";
