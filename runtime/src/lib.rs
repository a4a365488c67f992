//! What an app embeds: a tokenizer and a tract session.
//!
//! A bundle, as `atb export` writes it, is a folder with `model.onnx` and the tokenizer's
//! files. [`TextModel`] takes texts in and gives vectors out; [`Session`] is the part below
//! it that takes token ids. Both run on one thread unless asked otherwise. Neither needs
//! anything but the bundle.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_runtime::TextModel;
//!
//! let mut model = TextModel::open(Path::new("bundle"))?;
//! let embeddings = model.embed(&["The battery lasts two days.", "It charges quickly."])?;
//! println!("{} values for each text", embeddings[0].len());
//! # Ok::<(), atb_runtime::ModelError>(())
//! ```
//!
//! Without the default feature `tokenizer` only the session is built.

mod engine;
mod guard;
mod optimise;
mod session;
#[cfg(feature = "tokenizer")]
mod text_model;

pub use atb_interface::{Inputs, Meaning, Output, OutputShape, Outputs};
pub use engine::{Engine, EnginePath};
pub use guard::is_guarded;
pub use session::{ENGINE, Kernel, Processor, Session, SessionError, processor};
#[cfg(feature = "tokenizer")]
pub use text_model::{ModelError, TextModel};

/// Name of the model file in a bundle.
pub const MODEL_FILE: &str = "model.onnx";
