//! One measured model: its raw samples and what is noteworthy about them.

use std::fmt;

use atb_space::Architecture;
use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An architecture with random weights.
    Architecture(Architecture),
    /// An exported model file, by its path on the device.
    Model(String),
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
        }
    }
}

/// Why a model was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// Something about a record that a reader must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// The run times had not settled when the warm-up ended.
    ColdStart,
    /// The ratio's confidence interval stayed wider than the protocol asks for.
    Noisy,
    /// Other programs took the processor away for more than 5 % of the time.
    Preempted,
    /// The device itself changed its speed by more than 10 % while this was measured.
    Drift,
}

impl Flag {
    /// What the flag says and what to do about it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::ColdStart => {
                "run times had not settled when the warm-up ended; raise warm_up.max_runs"
            }
            Self::Noisy => {
                "the ratio's confidence interval stayed wide; close other programs or raise \
                 max_pairs and max_seconds"
            }
            Self::Preempted => {
                "other programs took the processor away for more than 5 % of the time; the ratio \
                 is of processor times and holds, but close them for numbers as an app has them"
            }
            Self::Drift => {
                "the device's speed moved by more than 10 % during the measurement; let it cool \
                 down, fix its clock, or stop other work on it"
            }
        }
    }
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
    /// Highest memory of the agent while this model was in it, in KiB, if known.
    #[serde(default)]
    pub peak_memory_kib: Option<u64>,
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
            peak_memory_kib: None,
            flags: Vec::new(),
        }
    }

    /// The measured architecture, unless a model file was measured.
    #[must_use]
    pub fn arch(&self) -> Option<&Architecture> {
        match &self.subject {
            Subject::Architecture(arch) => Some(arch),
            Subject::Model(_) => None,
        }
    }
}
