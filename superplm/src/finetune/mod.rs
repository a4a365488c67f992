//! Fine-tuning: a model and a head are trained for a task.
//!
//! Examples come as token ids with what is right for them ([`Row`]); what a task is, how its
//! texts become rows and how well a model does on it is not known here. [`Finetuning`] trains
//! epoch after epoch; whoever drives it scores the model that each epoch leaves on examples that
//! are held out, and the best is kept.

mod batches;
mod loss;
mod row;
mod settings;
mod trainer;

#[cfg(test)]
mod tests;

pub use row::{Row, Target};
pub use settings::{DistillationSettings, FinetuneSettings};
pub use trainer::{Finetuning, HeldOutScore, TaskTraining};
