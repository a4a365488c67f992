//! What a latency measurement is: the protocol it follows, the record it leaves, the
//! statistics over its raw samples, the lines that agent and host exchange, and the file.
//!
//! The idea throughout is the **paired ratio**. On a phone or a shared machine the same
//! program runs at half its speed a minute later, so every timed run of a model is
//! followed at once by a timed run of one fixed reference model, and what is kept is the
//! ratio of the two. A latency in milliseconds is that ratio times the reference's
//! typical latency in the whole file ([`MeasurementFile::reference_ms`]).
//!
//! ```
//! use atb_measurements::{Record, Role, Statistics, Subject};
//!
//! let record = Record {
//!     // The machine slowed down by half after the second sample: the ratio did not.
//!     samples_us: vec![2010.0, 1990.0, 4000.0, 3020.0, 3980.0],
//!     reference_us: vec![1000.0, 1000.0, 2000.0, 1500.0, 2000.0],
//!     ..Record::new(Subject::architecture("2-128-512-2-128".parse()?), Role::Sample)
//! };
//! let statistics = Statistics::of(&record)?;
//! assert!((statistics.ratio - 2.0).abs() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod device;
mod error;
mod file;
mod flag;
mod protocol;
mod quantity;
mod record;
mod simulation;
mod statistics;
mod summary;
mod telemetry;
mod verdict;
mod wire;
mod writer;

pub use atb_files::TornLine;
pub use device::{AgentContext, Battery, CoreCluster, DeviceContext, ThermalZone};
pub use error::FileError;
pub use file::{Header, MeasurementFile, SCHEMA};
pub use flag::Flag;
pub use protocol::{
    CoreList, DriftRule, Protocol, ProtocolOf, ProtocolSettings, THREADS, WarmUp, check_cores,
};
pub use quantity::{Quantity, UnknownQuantity};
pub use record::{Failure, GivenUp, Record, Role, Subject};
pub use simulation::{
    SimulatedCluster, SimulatedDrift, SimulatedMigration, SimulatedThrottling, Simulation,
};
pub use statistics::{SampleError, Statistics, median, percentile};
pub use summary::Summary;
pub use telemetry::{CoreFrequency, Reading, RunsOnCore, Telemetry};
pub use verdict::{Repeats, Verdict};
pub use wire::{Request, Response};
pub use writer::{Contents, MeasurementWriter, file_text};
