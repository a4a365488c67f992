//! Model folders in, checked bundles out.
//!
//! [`export`] turns a model folder (`config.json`, `model.safetensors`, `vocab.txt`) into a
//! [`Bundle`], the folder that an app takes: `model.onnx` for one batch and sequence
//! length, the tokenizer's files, `config.json`, `report.json` and a model card.
//! [`verify`] runs the bundle in tract and in ONNX Runtime and the model folder in candle
//! on the same sentences and says how far they are apart.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_export::{OnnxRuntime, export, verify};
//! use atb_space::Workload;
//!
//! let model = Path::new("winner");
//! let bundle = export(model, Workload::default(), Path::new("bundle"))?;
//! let onnx_runtime = OnnxRuntime::load(&atb_fetch::onnx_runtime()?)?;
//! let parity = verify(&bundle, model, Some(&onnx_runtime))?;
//! println!("candle and tract differ by at most {:.1e}", parity.candle_tract);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bundle;
mod card;
mod error;
mod onnx_runtime;
mod parity;
mod report;

pub use bundle::{Bundle, export};
pub use error::ExportError;
pub use onnx_runtime::OnnxRuntime;
pub use parity::{Parity, verify};
pub use report::{BundleReport, Latency, REPORT_SCHEMA};

/// Largest absolute difference between two engines that counts as the same output.
pub const TOLERANCE: f32 = 1e-4;
