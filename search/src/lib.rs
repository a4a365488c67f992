//! Architecture search under a latency budget.
//!
//! [`Candidates::scan`] predicts every architecture of a space and keeps those in a band
//! around the budget; [`search`] evaluates some of them by a [`Fitness`] and ranks them.
//! Every value is kept in a [`Store`], so that nothing is evaluated twice and an
//! interrupted search resumes where it stopped.
//!
//! ```
//! use atb_search::{Budget, Candidates, Fitness, Settings, Store, search};
//! # use atb_measurements::{AgentContext, DeviceContext, Header, MeasurementFile};
//! # use atb_measurements::{MeasurementWriter, Protocol, Record, Role, SCHEMA, Subject};
//! # use atb_predictor::{FitSettings, Observations, Predictor};
//! # use atb_space::{Architecture, Cost, Range, Sampler, Space};
//! # let space = Space {
//! #     hidden: Range::new(128, 512, 64),
//! #     intermediate: Range::new(256, 2048, 64),
//! #     ..Space::paper_kd()
//! # };
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("measurements.jsonl");
//! # let header = Header {
//! #     schema: SCHEMA,
//! #     target: "local".to_owned(),
//! #     protocol: Protocol::default(),
//! #     device: DeviceContext::default(),
//! #     agent: AgentContext::default(),
//! # };
//! # let (mut writer, _) = MeasurementWriter::open(&path, &header)?;
//! # for arch in Sampler::new(&space, 1).take(30) {
//! #     let time = Cost::flops(&arch, 1, 128) / 1e5;
//! #     writer.append(&Record {
//! #         samples_us: vec![time; 5],
//! #         reference_us: vec![1000.0; 5],
//! #         ..Record::new(Subject::architecture(arch), Role::Sample)
//! #     })?;
//! # }
//! # let measured = Observations::from_file(&MeasurementFile::read(&path)?)?;
//! # let predictor = Predictor::fit(&measured, &space, &FitSettings::default())?;
//! # struct Loss;
//! # impl Fitness for Loss {
//! #     fn name(&self) -> &str { "loss" }
//! #     fn digest(&self) -> String { String::new() }
//! #     fn evaluate(&self, arch: &Architecture) -> Result<f64, atb_search::EvaluationError> {
//! #         Ok(1.0 / arch.hidden() as f64)
//! #     }
//! # }
//! # let loss = Loss;
//! // `space`, `predictor` and `loss` come from the crates that make them.
//! let candidates = Candidates::scan(&space, &predictor, &Budget::paper(10.0))?;
//! let mut store = Store::in_memory();
//! let outcome = search(&candidates, &loss, &mut store, &Settings::default(), &mut |progress| {
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
pub use search::{Outcome, SCHEMA, pareto_front, search};
pub use store::Store;
pub use strategy::{Settings, Strategy, UnknownStrategy};
