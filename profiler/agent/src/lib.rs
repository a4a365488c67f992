//! The program that runs on the device and measures models there.
//!
//! [`serve`] reads one [`Request`](atb_measurements::Request) a line and answers each with
//! one [`Response`](atb_measurements::Response) a line; nothing else ever goes to its
//! output, but for the empty lines that [`serve_host`] answers empty lines with. It builds the
//! very graph that the exporter writes, runs it in the very session that an app embeds, and
//! needs no files beside it. [`Session`] is the protocol itself; the
//! clock and the sensors are behind [`Device`], so that it is tested, and shown to users, on
//! a [`SimulatedMachine`] without waiting.
//!
//! ```
//! use atb_agent::{SimulatedMachine, serve};
//! use atb_measurements::Simulation;
//!
//! let requests = r#"{"request":"start","protocol":{"workload":{"batch":1,"sequence":16}}}"#;
//! let mut responses = Vec::new();
//! let mut machine = SimulatedMachine::new(Simulation::default())?;
//! serve(requests.as_bytes(), &mut responses, &mut machine)?;
//! assert!(responses.starts_with(br#"{"response":"ready""#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod android;
mod cores;
mod fields;
mod machine;
mod measure;
mod options;
mod parts;
mod real;
mod serve;
mod simulated;
mod system;

pub use machine::{Counters, Device, LoadError, Loaded, Machine, Model, Refusal};
pub use measure::{Session, Timings, warm_up};
pub use options::{OptionError, Options};
pub use real::{Opener, RealMachine};
pub use serve::{ServeError, serve, serve_host};
pub use simulated::SimulatedMachine;
