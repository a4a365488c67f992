//! Drives the agent on a target and keeps the measurement file.
//!
//! A [`Plan`] says what to measure and in which order; [`profile`] measures it and appends
//! each record to the file as soon as it is there. A run that was interrupted continues
//! with what the file lacks.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_measurements::Protocol;
//! use atb_profiler::{Plan, Silent, profile};
//! use atb_space::{Architecture, Sampler, Space};
//! use atb_targets::Target;
//!
//! let space = Space::paper_kd();
//! let plan = Plan::new(Sampler::new(&space, 7), 30, 4, &[Architecture::bert_base()], 7);
//! let target = Target::find("local")?;
//! let file = Path::new("measurements.jsonl");
//! let measured = profile(&target, &Protocol::default(), &plan, file, &mut Silent)?;
//! assert_eq!(measured.records.len(), plan.items().len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agent;
pub mod doctor;
mod error;
mod link;
mod observer;
mod plan;
mod profile;
mod survey;

pub use agent::{Agent, Inspection};
pub use error::ProfileError;
pub use link::Link;
pub use observer::{Observer, Silent};
pub use plan::{Item, Plan};
pub use profile::{Job, profile, profile_all, profile_over, remaining};
pub use survey::{Surveyed, by_address, known_targets, survey};
