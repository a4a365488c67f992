//! One measured model: its raw samples and what is noteworthy about them.

use std::fmt;

use atb_space::Architecture;
use serde::{Deserialize, Serialize};

use crate::{Flag, Telemetry};

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An architecture with random weights.
    Architecture(Architecture),
    /// An exported model file, by its path on the device.
    Model(String),
    /// An exported model file, by its path on the device, run by tract without operations of ours.
    PlainTract(String),
    /// An exported model file, by its path on the device, run by ONNX Runtime.
    OnnxRuntime(String),
}

impl Subject {
    /// An architecture with random weights.
    #[must_use]
    pub fn architecture(arch: Architecture) -> Self {
        Self::Architecture(arch)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Architecture(arch) => arch.fmt(f),
            Self::Model(path) => f.pad(path),
            Self::PlainTract(path) => write!(f, "{path} in plain tract"),
            Self::OnnxRuntime(path) => write!(f, "{path} in ONNX Runtime"),
        }
    }
}

/// Why a model was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// To fit a predictor on.
    Sample,
    /// A second, independent measurement of a sample: shows what the data can be trusted to.
    Retest,
    /// The architecture that speed-ups are quoted against.
    Baseline,
    /// To compare with a prediction.
    Check,
}

/// One measured model with every raw sample.
///
/// `samples_us[i]` and `reference_us[i]` form a pair: both were timed within one burst.
/// The `cold_*` samples are the runs just before, which brought the model back into the
/// caches; the statistics do not use them. All times are microseconds, by the wall clock
/// where the name does not say `cpu`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was measured.
    pub subject: Subject,
    /// Why.
    pub role: Role,
    /// Timed runs of the subject.
    pub samples_us: Vec<f64>,
    /// Timed runs of the reference model, one for each of `samples_us`.
    pub reference_us: Vec<f64>,
    /// Processor time of each of `samples_us`; empty where it says nothing, with several
    /// threads, or where the system does not tell.
    #[serde(default)]
    pub samples_cpu_us: Vec<f64>,
    /// Processor time of each of `reference_us`, or empty as `samples_cpu_us` is.
    #[serde(default)]
    pub reference_cpu_us: Vec<f64>,
    /// Runs of the subject that only settled the caches.
    #[serde(default)]
    pub cold_samples_us: Vec<f64>,
    /// Runs of the reference model that only settled the caches.
    #[serde(default)]
    pub cold_reference_us: Vec<f64>,
    /// Runs of the warm-up.
    #[serde(default)]
    pub warm_up_us: Vec<f64>,
    /// Time to build, optimise and load the model, in milliseconds.
    #[serde(default)]
    pub build_ms: f64,
    /// The part of `build_ms` in which random weights were made up, in milliseconds.
    #[serde(default)]
    pub weights_ms: f64,
    /// Highest memory of the agent while this model was in it, in KiB, if known; the
    /// agent's own code and the reference model are part of it.
    #[serde(default)]
    pub peak_memory_kib: Option<u64>,
    /// Memory of the agent with only the reference model in it, in KiB, if known.
    #[serde(default)]
    pub memory_before_kib: Option<u64>,
    /// Time from the request to this record, in milliseconds; zero if unknown.
    #[serde(default)]
    pub elapsed_ms: f64,
    /// Pairs that were given up because the device had changed its speed, oldest first.
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
    /// What the device did meanwhile.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// What a reader must know.
    #[serde(default)]
    pub flags: Vec<Flag>,
}

impl Record {
    /// A record without samples.
    #[must_use]
    pub fn new(subject: Subject, role: Role) -> Self {
        Self {
            subject,
            role,
            samples_us: Vec::new(),
            reference_us: Vec::new(),
            samples_cpu_us: Vec::new(),
            reference_cpu_us: Vec::new(),
            cold_samples_us: Vec::new(),
            cold_reference_us: Vec::new(),
            warm_up_us: Vec::new(),
            build_ms: 0.0,
            weights_ms: 0.0,
            peak_memory_kib: None,
            memory_before_kib: None,
            elapsed_ms: 0.0,
            given_up: Vec::new(),
            telemetry: Telemetry::default(),
            flags: Vec::new(),
        }
    }

    /// The measured architecture, unless a model file was measured.
    #[must_use]
    pub fn arch(&self) -> Option<&Architecture> {
        match &self.subject {
            Subject::Architecture(arch) => Some(arch),
            Subject::Model(_) | Subject::PlainTract(_) | Subject::OnnxRuntime(_) => None,
        }
    }

    /// Time that the model and the reference ran, timed or to warm up, in milliseconds.
    #[must_use]
    pub fn inference_ms(&self) -> f64 {
        let kept = [
            &self.warm_up_us,
            &self.cold_samples_us,
            &self.samples_us,
            &self.cold_reference_us,
            &self.reference_us,
        ];
        let kept: f64 = kept.into_iter().flatten().sum();
        let given_up: f64 = self
            .given_up
            .iter()
            .flat_map(|pairs| [&pairs.samples_us, &pairs.reference_us, &pairs.cold_us])
            .flatten()
            .sum();
        (kept + given_up) / 1e3
    }

    /// Time to optimise and load the model, in milliseconds; `None` if it was not noted.
    #[must_use]
    pub fn load_ms(&self) -> Option<f64> {
        (self.build_ms > 0.0).then_some(self.build_ms - self.weights_ms)
    }

    /// Memory that the model took at its peak, in KiB: the agent's peak over what it has
    /// without the model.
    #[must_use]
    pub fn model_memory_kib(&self) -> Option<u64> {
        Some(self.peak_memory_kib?.saturating_sub(self.memory_before_kib?))
    }
}

/// Pairs that were not kept, because the reference had left its baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Runs of the subject.
    pub samples_us: Vec<f64>,
    /// Runs of the reference model.
    pub reference_us: Vec<f64>,
    /// Runs of both that only settled the caches.
    pub cold_us: Vec<f64>,
}

/// A model that could not be measured: it ended the agent each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was to be measured.
    pub subject: Subject,
    /// Why.
    pub role: Role,
    /// How the agent ended.
    pub failure: String,
}
