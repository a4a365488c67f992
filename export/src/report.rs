//! `report.json` of a bundle: what was checked and measured of it.

use atb_interface::OutputShape;
use atb_space::{Architecture, Precision, Workload};
use serde::{Deserialize, Serialize};

use crate::{Kept, Parity};

/// Version of the report's schema; a report of a newer one is refused.
pub const REPORT_SCHEMA: u32 = 1;

/// What is known of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleReport {
    /// Version of the schema, [`REPORT_SCHEMA`] when written by this version.
    pub schema: u32,
    /// The model's architecture.
    pub architecture: Architecture,
    /// The shape of input that `model.onnx` takes.
    pub workload: Workload,
    /// What its word embeddings and products are.
    #[serde(default)]
    pub precision: Precision,
    /// Parameters of the whole model.
    pub parameters: u64,
    /// Bytes of `model.onnx`.
    pub model_bytes: u64,
    /// Name and shape of every output of `model.onnx`.
    #[serde(default)]
    pub outputs: Vec<OutputShape>,
    /// Names of the labels that a classifier's logits stand for, in their order; empty where
    /// the model names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How much of its model's vocabulary it has; absent if all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Kept>,
    /// How far the engines' outputs are apart; absent until the bundle was verified.
    #[serde(default)]
    pub parity: Option<Parity>,
    /// Measured latencies, one for each target.
    #[serde(default)]
    pub latency: Vec<Latency>,
}

/// The bundle's latency on one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The target's name.
    pub target: String,
    /// The engine that ran it.
    pub engine: String,
    /// Latency in milliseconds: paired ratio times the reference model's latency there.
    pub measured_ms: f64,
    /// What the predictor said, if it was asked.
    #[serde(default)]
    pub predicted_ms: Option<f64>,
    /// Times faster than the baseline measured beside it.
    #[serde(default)]
    pub speedup: Option<f64>,
    /// The baseline of the speed-up.
    #[serde(default)]
    pub baseline: Option<Architecture>,
}

impl BundleReport {
    /// Sets the latency on `latency.target`, in place of an earlier one there.
    pub fn set_latency(&mut self, latency: Latency) {
        self.latency.retain(|known| known.target != latency.target);
        self.latency.push(latency);
    }
}
