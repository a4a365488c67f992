//! A fitted predictor with everything needed to trust it, and its file.

use std::ops::Bound;

use atb_measurements::{AgentContext, DeviceContext, Quantity};
use atb_settings::{Check, Checked};
use atb_space::{Architecture, Precision, Space, Workload};
use serde::{Deserialize, Serialize};

use crate::error::describe;
use crate::features::Machines;
use crate::kinds::Fitted;
use crate::model::{Breakdown, Model};
use crate::observation::{NoiseFloor, Observation, Source};
use crate::validation::Validation;

/// Version of the predictor file's schema; a file of a newer one is refused.
pub const SCHEMA: u32 = 2;

/// Confidence level of the intervals that [`Predictor::predict`] gives.
pub const CONFIDENCE_LEVEL: f64 = 0.9;

/// A measured architecture that was not fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The architecture.
    pub arch: Architecture,
    /// Why.
    pub reason: String,
}

/// An architecture that speed-ups can be quoted against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The architecture.
    pub arch: Architecture,
    /// Batch and sequence length.
    pub workload: Workload,
    /// Its measured value.
    pub value: f64,
}

impl From<&Observation> for Baseline {
    fn from(item: &Observation) -> Self {
        Self { arch: item.arch.clone(), workload: item.workload, value: item.value }
    }
}

/// A predicted value and where a measurement of it would lie, in the predictor's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The predicted value.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Prediction {
    /// Whether a measured value lies in the interval, its ends included.
    #[must_use]
    pub fn contains(&self, measured: f64) -> bool {
        (self.low..=self.high).contains(&measured)
    }
}

/// A predictor of one quantity, the latency in most cases, on one device.
///
/// Serialises as the predictor file; values in it are in `unit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predictor {
    pub(crate) schema: u32,
    /// Version of this crate that fitted it.
    pub version: String,
    /// The space it was fitted for.
    pub space: Space,
    /// Batch and sequence lengths it was fitted for; the first one is the default.
    pub workloads: Vec<Workload>,
    /// What it predicts, and so the unit of its values.
    pub quantity: Quantity,
    /// The measurement files it was fitted on.
    pub sources: Vec<Source>,
    /// The measurement files of the predictor it was calibrated from, if it was.
    #[serde(default)]
    pub calibrated_from: Vec<Source>,
    /// Measured architectures that speed-ups can be quoted against.
    pub baselines: Vec<Baseline>,
    /// What the measurements can be trusted to.
    pub noise: NoiseFloor,
    /// Measured architectures that were not fitted on.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// What it is worth on architectures it was not fitted on.
    pub validation: Validation,
    /// The model itself.
    pub model: Fitted,
}

impl Checked for Predictor {
    fn check(&self, at: &mut Check) {
        at.range("workloads", self.workloads.len(), 1..=10_000);
        for (number, workload) in self.workloads.iter().enumerate() {
            at.nested(&format!("workloads.{number}"), workload);
        }
        let positive = (Bound::Excluded(0.0), Bound::Unbounded);
        for (number, source) in self.sources.iter().enumerate() {
            at.range(&format!("sources.{number}.reference_ms"), source.reference_ms, positive);
        }
        for (number, baseline) in self.baselines.iter().enumerate() {
            at.range(&format!("baselines.{number}.value"), baseline.value, positive);
        }
    }
}

/// Why a predictor has no answer.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PredictError {
    #[error(
        "this predictor was fitted for {fitted} and says nothing about batch {batch}, sequence \
         length {sequence}"
    )]
    #[diagnostic(help("measure that with `atb profile` and fit again"))]
    Workload { fitted: String, batch: usize, sequence: usize },
}

impl Predictor {
    /// The unit of its values.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        self.quantity.unit()
    }

    /// Batch and sequence length that [`Predictor::predict`] answers for.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.workloads.first().copied().unwrap_or_default()
    }

    /// The predicted value and its interval of confidence level [`CONFIDENCE_LEVEL`], for the
    /// first of the workloads the predictor was fitted for.
    #[must_use]
    pub fn predict(&self, arch: &Architecture) -> Prediction {
        self.interval(arch, self.workload(), CONFIDENCE_LEVEL)
    }

    /// As [`Predictor::predict`], with the interval of another confidence level, from 0 to 1.
    #[must_use]
    pub fn predict_at(&self, arch: &Architecture, confidence_level: f64) -> Prediction {
        self.interval(arch, self.workload(), confidence_level)
    }

    /// As [`Predictor::predict`], for any batch and sequence length within those the
    /// predictor was fitted for, and any confidence level from 0 to 1.
    ///
    /// # Errors
    /// [`PredictError::Workload`] if the workload lies outside.
    pub fn predict_for(
        &self,
        arch: &Architecture,
        workload: Workload,
        confidence_level: f64,
    ) -> Result<Prediction, PredictError> {
        if self.covers(workload) {
            return Ok(self.interval(arch, workload, confidence_level));
        }
        let fitted: Vec<String> = self.workloads.iter().map(|known| describe(*known)).collect();
        Err(PredictError::Workload {
            fitted: fitted.join("; "),
            batch: workload.batch,
            sequence: workload.sequence,
        })
    }

    /// What the weights of the architectures are whose latency it predicts.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.sources.first().map(|source| source.protocol.precision).unwrap_or_default()
    }

    fn covers(&self, workload: Workload) -> bool {
        let between = |size: fn(&Workload) -> usize| {
            let sizes = self.workloads.iter().map(size);
            let range = sizes.clone().min()..=sizes.max();
            range.contains(&Some(size(&workload)))
        };
        between(|workload| workload.batch) && between(|workload| workload.sequence)
    }

    fn interval(
        &self,
        arch: &Architecture,
        workload: Workload,
        confidence_level: f64,
    ) -> Prediction {
        let value = self.model.value(arch, workload);
        let half_width = self.validation.residuals.half_width(confidence_level)
            * self.model.uncertainty(arch, workload);
        Prediction {
            value,
            low: (value * (1.0 - half_width)).max(0.0),
            high: value * (1.0 + half_width),
        }
    }

    /// The predicted value alone, in the predictor's unit; cheaper than
    /// [`Predictor::predict`].
    #[must_use]
    pub fn value(&self, arch: &Architecture) -> f64 {
        self.model.value(arch, self.workload())
    }

    /// The predicted value by part of the network, if the model can tell.
    #[must_use]
    pub fn breakdown(&self, arch: &Architecture) -> Option<Breakdown> {
        self.model.breakdown(arch, self.workload())
    }

    /// What the features know of the device it was fitted for.
    #[must_use]
    pub fn machines(&self) -> Machines {
        Machines::of(&self.sources)
    }

    /// What differs between the device and agent it was fitted for and the given ones, in
    /// words: reasons to distrust its predictions there. Temperature, load and current
    /// frequency change by the minute and are not compared.
    #[must_use]
    pub fn context_differences(&self, device: &DeviceContext, agent: &AgentContext) -> Vec<String> {
        let Some(source) = self.sources.first() else { return Vec::new() };
        let (then, now) = (&source.device, device);
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        let number =
            |value: Option<usize>| value.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        [
            ("processor", known(&then.cpu), known(&now.cpu)),
            ("instruction set", then.isa.clone(), now.isa.clone()),
            ("operating system", then.os.clone(), now.os.clone()),
            ("kernel", known(&then.kernel), known(&now.kernel)),
            ("number of cores", number(then.cores), number(now.cores)),
            ("frequency governor", known(&then.governor), known(&now.governor)),
            ("agent version", source.agent.version.clone(), agent.version.clone()),
            ("runtime", source.agent.runtime.clone(), agent.runtime.clone()),
            ("matrix kernel", source.agent.kernel.clone(), agent.kernel.clone()),
        ]
        .into_iter()
        .filter(|(_, then, now)| then != now)
        .map(|(what, then, now)| {
            format!("the predictor was fitted with the {what} {then}, here it is {now}")
        })
        .collect()
    }

    /// Measured value of a baseline, for the default workload.
    #[must_use]
    pub fn baseline(&self, arch: &Architecture) -> Option<f64> {
        self.baselines
            .iter()
            .find(|baseline| baseline.arch == *arch && baseline.workload == self.workload())
            .map(|baseline| baseline.value)
    }
}
