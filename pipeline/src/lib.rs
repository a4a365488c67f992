//! The main job, step by step.
//!
//! A [`Config`] says what is wanted; [`run`] does it in a folder: profile, fit, search,
//! extract, export, verify, bench, report. Each step is a function of [`steps`] over files,
//! which the command line offers one by one as well. A step whose inputs have not changed
//! is not redone, and an interrupted run continues where it was.
//!
//! ```no_run
//! use atb_pipeline::{Config, Quiet, run};
//!
//! let report = run(&Config::default(), &mut Quiet)?;
//! println!("{} in {:.2} ms", report.winner, report.measured_ms);
//! # Ok::<(), atb_pipeline::PipelineError>(())
//! ```

mod config;
mod error;
mod finetune;
mod inputs;
mod plan;
mod report;
mod reporter;
mod run;
mod state;
pub mod steps;
mod superplm;
mod template;
mod train;

pub use config::{
    Config, ExportConfig, FitnessConfig, HeldOutConfig, Loss, ProfileConfig, Sampling, SpaceChoice,
};
pub use error::PipelineError;
pub use finetune::{FinetuneConfig, FinetuneReport, OfSeed, finetune};
pub use plan::{PlannedStep, RunPlan, StepState, plan};
pub use report::{PredictorSummary, REPORT_SCHEMA, RunReport};
pub use reporter::{Event, Quiet, Reporter};
pub use run::{Files, run};
pub use superplm::{Origin, Weights, teacher};
pub use template::{Wanted, WantedBudget, template};
pub use train::{ObjectiveChoice, OneShotConfig, TrainConfig, parse_duration, train};
