//! Benchmarks against peers, and comparisons that write tables and plots.
//!
//! `cargo bench -p atb-benches` runs the criterion suites. The program
//! `compare-predictors` reads the measurement files in `predictors/` and writes beside them
//! how the kinds of latency predictor compare at growing numbers of samples:
//!
//! ```no_run
//! use atb_benches::comparison::{Comparison, Settings};
//! use atb_measurements::MeasurementFile;
//! use atb_predictor::Observations;
//! use atb_space::Space;
//!
//! let file = MeasurementFile::read("uniform.jsonl".as_ref())?;
//! let measured = Observations::from_file(&file)?;
//! let comparison = Comparison::run(&Space::paper_kd(), &measured, None, &Settings::default())?;
//! println!("{}", comparison.table());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use anyhow::{Context, Result};

pub mod benchmarks;
pub mod choice;
pub mod comparison;
pub mod engines;
pub mod models;
pub mod plot;

/// Writes a table, whole or not at all.
///
/// # Errors
/// If the file cannot be written, naming it.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    atb_files::write(path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
