//! The library of an app: a bundle's answers, and its latency on the device at hand.
//!
//! [`Model`] is that of `atb-runtime`. [`measure`] times a bundle in the app's own process, by
//! the protocol and with the code of the agent that `atb bench` sends to a device, and gives the
//! same record, so that the two can be put beside each other: `atb bench --compare`.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_app::{Bundle, MeasureOptions, Model, measure};
//!
//! let model = Model::open(Path::new("bundle.atb"))?;
//! let vectors = model.embed(&["The battery lasts two days.", "It charges quickly."])?;
//! println!("{} values for each text", vectors[0].len());
//!
//! let record = measure(Bundle::open(Path::new("bundle.atb"))?, &MeasureOptions::default())?;
//! println!("{:.2} ms", record.latency_ms);
//! std::fs::write("app-record.jsonl", record.text)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod measure;
mod told;

pub use atb_runtime::{
    Answer, Bundle, BundleError, Bytes, Cancellation, ErrorKind, Label, Model, ModelError,
    OpenOptions, Tag, Task, TextInput,
};
pub use measure::{MeasureError, MeasureOptions, Measurement, measure};
pub use told::told;
