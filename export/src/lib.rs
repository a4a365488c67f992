//! Model folders in, checked bundles out.
//!
//! [`export`] turns a model folder (`config.json`, `model.safetensors`, `vocab.txt`) into a
//! [`Bundle`], the folder that an app takes: `model.onnx` for one batch and sequence
//! length, the tokenizer's files, `config.json`, `report.json` and a model card;
//! [`Bundle::pack`] makes one file of it.
//! [`verify`] runs the bundle in tract and in ONNX Runtime, asks its caller for the outputs of
//! a reference implementation on the same sentences, and says how far they are apart.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_export::{Options, export};
//!
//! let bundle = export(Path::new("winner"), &Options::default(), Path::new("bundle"))?;
//! println!("{} bytes", bundle.report().model_bytes);
//! # Ok::<(), atb_export::ExportError>(())
//! ```

mod bundle;
mod card;
mod error;
mod meaning;
mod parity;
mod report;
mod verify;
mod vocabulary;

pub use bundle::{Bundle, Options, export};
pub use error::ExportError;
pub use parity::Parity;
pub use report::{BundleReport, Latency, REPORT_SCHEMA};
pub use verify::verify;
pub use vocabulary::{Kept, Vocabulary};
