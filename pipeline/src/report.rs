//! `report.json`: what a run found. The schema is this struct; times are in milliseconds.

use atb_export::Parity;
use atb_measurements::Flag;
use atb_predictor::Predictor;
use atb_space::{Architecture, Workload};
use serde::{Deserialize, Serialize};

use crate::Origin;
use crate::steps::{Finalist, StaticTable};

/// Version of the report's schema.
pub const REPORT_SCHEMA: u32 = 1;

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Version of the schema, [`REPORT_SCHEMA`] when written by this version.
    pub schema: u32,
    /// The device.
    pub target: String,
    /// Batch and sequence length.
    pub workload: Workload,
    /// The chosen architecture.
    pub winner: Architecture,
    /// Its loss in the search, on held-out text; lower is better.
    pub loss: f64,
    /// The latency aimed at.
    pub budget_ms: f64,
    /// The band around it that candidates had to lie in.
    pub band_ms: (f64, f64),
    /// The winner's predicted latency.
    pub predicted_ms: f64,
    /// The prediction's interval of 90 %.
    pub interval_ms: (f64, f64),
    /// The exported winner's measured latency, on the scale of the predictor's measurements:
    /// its paired ratio times their reference latency.
    pub measured_ms: f64,
    /// The measured latency over the predicted one, less one.
    pub prediction_error: f64,
    /// Whether the measured latency lies in the band.
    pub in_band: bool,
    /// The architecture that the speed-up is against.
    pub baseline: Architecture,
    /// Its latency, measured beside the winner's.
    pub baseline_ms: f64,
    /// Times that the winner is faster than the baseline, measured alternately.
    pub speedup: f64,
    /// What the predictor is worth.
    pub predictor: PredictorSummary,
    /// How far the engines' outputs are apart. `candle_ort` and `tract_ort` are null where
    /// ONNX Runtime was not to be had.
    pub parity: Parity,
    /// Where the weights come from.
    pub superplm: Origin,
    /// Candidates that met the budget, and how many of them were evaluated.
    pub candidates: u64,
    /// Architectures whose loss was computed.
    pub evaluated: usize,
    /// The best of the search as predicted and as measured, the winner first.
    pub finalists: Vec<Finalist>,
    /// A model without any layer beside the winner; null where the loss is of a kind that it has
    /// not. A winner that does not beat it is not worth its milliseconds.
    #[serde(default)]
    pub static_table: Option<StaticTable>,
    /// What a reader must know of the device, above all that there is none.
    #[serde(default)]
    pub flags: Vec<Flag>,
    /// What lessens the results' worth, for people.
    pub warnings: Vec<String>,
}

/// What the predictor is worth. Shares and errors are fractions: 0.02 is 2 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictorSummary {
    /// Architectures it was fitted on.
    pub measured: usize,
    /// Cross-validated mean absolute relative error.
    pub mape: f64,
    /// Cross-validated share within 5 %.
    pub within_5: f64,
    /// Cross-validated share within 10 %.
    pub within_10: f64,
    /// Cross-validated Kendall tau.
    pub tau: f64,
    /// Mean relative error of one measurement, below which no predictor can get; null if
    /// nothing was measured twice.
    pub noise_floor: Option<f64>,
}

impl PredictorSummary {
    /// The summary of a fitted predictor.
    #[must_use]
    pub fn of(predictor: &Predictor) -> Self {
        let metrics = predictor.validation.metrics;
        Self {
            measured: metrics.count,
            mape: metrics.mape,
            within_5: metrics.within_5,
            within_10: metrics.within_10,
            tau: metrics.tau,
            noise_floor: predictor.noise.value(),
        }
    }
}
