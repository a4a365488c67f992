//! Architecture search under a latency budget.
//!
//! [`Candidates::scan`] predicts every architecture of a space and keeps those in a band
//! around the budget; [`search`] evaluates some of them by a [`Fitness`] and ranks them.
//! Every value is kept in a [`Store`], so that nothing is evaluated twice and an
//! interrupted search resumes where it stopped.
//!
//! ```
//! use atb_measurements::MeasurementFile;
//! use atb_predictor::{FitSettings, Observations, Predictor};
//! use atb_search::{Budget, Candidates, EvaluationError, Fitness, Settings, Store, search};
//! use atb_space::{Architecture, Range, Space};
//!
//! /// What is minimised; here larger is better.
//! struct Size;
//!
//! impl Fitness for Size {
//!     fn name(&self) -> &str {
//!         "size"
//!     }
//!
//!     fn digest(&self) -> String {
//!         "1".to_owned()
//!     }
//!
//!     fn evaluate(&self, arch: &Architecture) -> Result<f64, EvaluationError> {
//!         Ok(1.0 / arch.hidden() as f64)
//!     }
//! }
//!
//! let measured = MeasurementFile::read("../examples/measurements.jsonl".as_ref())?;
//! let observations = Observations::from_file(&measured)?;
//! let predictor = Predictor::fit(&observations, &Space::paper_kd(), &FitSettings::default())?;
//!
//! let space = Space { intermediate: Range::new(128, 3072, 64), ..Space::paper_kd() };
//! let candidates = Candidates::scan(&space, &predictor, &Budget::paper(10.0))?;
//! let mut store = Store::in_memory();
//! let outcome = search(&candidates, &Size, &mut store, &Settings::default(), &mut |progress| {
//!     println!("{} of {}: {}", progress.done, progress.planned, progress.best.arch);
//! })?;
//! let winner = outcome.winner().ok_or("nothing was evaluated")?;
//! assert!((8.5..=11.0).contains(&winner.latency_ms));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod budget;
mod candidates;
mod error;
mod evaluate;
mod fitness;
mod mutation;
mod queue;
mod scan;
mod search;
mod store;
mod strategy;
mod surrogate;

pub use budget::{Band, Budget, Limits};
pub use candidates::Candidates;
pub use error::{SearchError, StoreError};
pub use evaluate::{Evaluated, Observer, Progress};
pub use fitness::{EvaluationError, Fitness};
pub use mutation::{Gene, Mutation};
pub use scan::LatencyHistogram;
pub use search::{Outcome, SCHEMA, pareto_front, search, search_across};
pub use store::{Store, evaluations};
pub use strategy::{Settings, Strategy, UnknownStrategy};
