//! What an app embeds: a tokenizer and a tract session.
//!
//! A bundle, as `atb export` writes it, is a folder or one file. A [`Model`] takes texts in and
//! gives labels with probabilities, scores, embeddings or answers out, on any number of threads.
//! [`Session`] is the part below it that takes token ids, for one thread. Neither needs anything
//! but the bundle.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_runtime::Model;
//!
//! let model = Model::open(Path::new("bundle"))?;
//! for labels in model.classify(&["The battery lasts two days.", "It broke at once."])? {
//!     println!("{} ({:.0} %)", labels[0].name, 100.0 * labels[0].probability);
//! }
//! # Ok::<(), atb_runtime::ModelError>(())
//! ```
//!
//! Without the default feature `tokenizer` only the session is built.

mod bounds;
mod engine;
#[cfg(feature = "tokenizer")]
mod error;
mod guard;
#[cfg(feature = "tokenizer")]
mod model;
mod optimise;
mod part;
mod session;
#[cfg(feature = "tokenizer")]
mod spans;
#[cfg(feature = "tokenizer")]
mod text_model;

#[cfg(feature = "tokenizer")]
pub use atb_bundle::{Bundle, BundleError, Bytes, MODEL_FILE};
pub use atb_interface::{Inputs, Meaning, Output, OutputShape, Outputs};
pub use engine::{Engine, EnginePath};
pub use guard::is_guarded;
pub use session::{ENGINE, Kernel, Processor, Session, SessionError, processor};
#[cfg(feature = "tokenizer")]
pub use {
    atb_text::{TextError, TextInput},
    error::{ErrorKind, ModelError},
    model::{Answer, Cancellation, Label, Model, OpenOptions, Tag, Task},
    spans::{Span, SpanSettings, Window, WindowError, n_best},
    text_model::TextModel,
};
