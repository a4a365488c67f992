//! One-shot training of a SuperPLM, and further training of one architecture.
//!
//! Every step draws a batch and some sub-architectures, sums their gradients and updates
//! the whole parameters once. All that is random depends on the seed and the step alone, so
//! a training that goes on from a checkpoint makes the same steps as one that never stopped.

mod accelerator;
mod adamw;
pub(crate) mod checkpoint;
mod error;
mod exchange;
mod memory;
mod metrics;
mod objective;
mod settings;
mod sub_models;
mod trainer;
mod training;
mod variables;

pub use accelerator::Accelerator;
pub use error::TrainError;
pub use memory::keep_freed_memory;
pub(crate) use metrics::Metrics;
pub use metrics::{Exchange, MetricsLine};
pub(crate) use objective::Term;
pub use objective::{Objective, ObjectiveKind};
pub use settings::{Schedule, TrainSettings};
pub use sub_models::{SubModels, default_panel};
pub use trainer::{Outcome, Progress, Stopped, check_start, train, train_across};
pub use training::Training;
pub(crate) use variables::Variables;

#[cfg(test)]
mod tests;
