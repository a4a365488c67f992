//! The program that runs on the device and measures models there.
//!
//! [`serve`] reads one [`Request`](atb_measurements::Request) a line and answers each with
//! one [`Response`](atb_measurements::Response) a line; nothing else ever goes to its
//! output. It builds the very graph that the exporter writes, runs it in the very session
//! that an app embeds, and needs no files beside it. [`measure`] is the protocol itself,
//! behind a [`Clock`], so that it is tested without waiting.
//!
//! ```
//! let requests = r#"{"request":"start","protocol":{"workload":{"batch":1,"sequence":16}}}"#;
//! let mut responses = Vec::new();
//! atb_agent::serve(requests.as_bytes(), &mut responses)?;
//! assert!(responses.starts_with(br#"{"response":"ready""#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod device;
mod measure;
mod model;
mod serve;

pub use measure::{Clock, Model, Timings, WallClock, measure, warm_up};
pub use serve::{ServeError, serve};
