//! Benchmarks against peers, and comparisons that write tables and plots.
//!
//! `cargo bench -p atb-benches` runs the criterion suites. The program
//! `compare-predictors` reads measurement files and writes how the kinds of latency
//! predictor compare at growing numbers of samples:
//!
//! ```no_run
//! use atb_benches::comparison::{Comparison, Settings};
//! use atb_measurements::MeasurementFile;
//! use atb_predictor::Observations;
//!
//! let file = MeasurementFile::read("kd.jsonl".as_ref())?;
//! let comparison = Comparison::run(&Observations::from_file(&file)?, &Settings::default())?;
//! println!("{}", comparison.table());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod comparison;
pub mod plot;
