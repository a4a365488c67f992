//! Tasks: their data, their metrics, and what a model scores on them.
//!
//! A [`Task`] is data: its kind, columns, labels, splits and metrics. GLUE's tasks, SQuAD 1.1
//! and two of embeddings are built in ([`Task::built_in`]); a user's own is a TOML file.
//! [`Task::read_split`] reads and checks its examples, [`evaluate()`] gives them to a
//! [`Model`], and [`compare`] says how far two models are apart, each with a bootstrap interval.
//! [`training_examples`] gives them as a model is trained on them.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_tasks::{EvaluateSettings, Model, Task, evaluate};
//!
//! let task = Task::find("STS-B-similarity")?;
//! let dev = task.read_split(Some(Path::new("glue")), "dev")?;
//! let model = Model::open("bundle")?;
//! let evaluation = evaluate(&model, &task, &dev, None, &EvaluateSettings::default())?;
//! println!("{}: {:?}", evaluation.scores[0].metric, evaluation.scores[0].value);
//! # Ok::<(), atb_tasks::TaskError>(())
//! ```

mod bootstrap;
mod error;
mod evaluate;
mod families;
mod kind;
mod metrics;
mod model;
mod read;
mod task;
mod training;

pub use bootstrap::{Bootstrap, Interval};
pub use error::{Place, TaskError};
pub use evaluate::{Difference, EvaluateSettings, Evaluation, Score, compare, evaluate};
pub use kind::Kind;
pub use metrics::{Metric, Outcomes, exact_match, normalised, word_f1};
pub use model::{Frequencies, Model};
pub use read::{Answer, Example, Examples, Question, Split, Target};
pub use task::{Format, Task};
pub use training::{TrainingExample, TrainingTarget, training_examples};
