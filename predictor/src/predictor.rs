//! A fitted predictor with everything needed to trust it, and its file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use atb_measurements::{AgentContext, DeviceContext, Quantity};
use atb_space::{Architecture, Space, Workload};
use serde::{Deserialize, Serialize};

use crate::fit::{Choice, describe};
use crate::model::{Breakdown, LatencyModel, Model};
use crate::validation::Validation;
use crate::{Machines, NoiseFloor, Observation, Source};

/// Version of the predictor file's schema; a file of a newer one is refused.
pub const SCHEMA: u32 = 1;

/// Level of the intervals that [`Predictor::predict`] gives.
pub const LEVEL: f64 = 0.9;

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
    /// Measured latency, in milliseconds.
    pub latency_ms: f64,
}

impl From<&Observation> for Baseline {
    fn from(item: &Observation) -> Self {
        Self { arch: item.arch.clone(), workload: item.workload, latency_ms: item.latency_ms }
    }
}

/// A predicted latency and where a measurement of it would lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Predicted latency, in milliseconds.
    pub latency_ms: f64,
    /// Lower end of the interval, in milliseconds.
    pub low_ms: f64,
    /// Upper end of the interval, in milliseconds.
    pub high_ms: f64,
}

/// A latency predictor for one device.
///
/// Serialises as the predictor file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predictor {
    pub(crate) schema: u32,
    /// Version of this crate that fitted it.
    pub version: String,
    /// The space it was fitted for.
    pub space: Space,
    /// Batch and sequence lengths it was fitted for; the first one is the default.
    pub workloads: Vec<Workload>,
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
    /// The kinds of model that were compared, if the kind was not given.
    #[serde(default)]
    pub choice: Option<Choice>,
    /// The model itself.
    pub model: Model,
}

/// Why a predictor has no answer.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PredictError {
    /// a batch or sequence length it does not know
    #[error(
        "this predictor was fitted for {fitted} and says nothing about batch {batch}, sequence \
         length {sequence}; hint: measure that with `atb profile` and fit again"
    )]
    Workload {
        /// What it was fitted for.
        fitted: String,
        /// The batch asked for.
        batch: usize,
        /// The sequence length asked for.
        sequence: usize,
    },
}

/// Why a predictor file could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PredictorFileError {
    /// the file system said no
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// a file of a newer version
    #[error("{}: has schema {found}, this version reads up to {SCHEMA}; hint: use a newer version of atb", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
    },
    /// no predictor
    #[error("{} is not a predictor: {problem}; hint: predictors are written by `atb fit`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        problem: String,
    },
}

impl Predictor {
    /// What it predicts; values are in the quantity's unit, also where a name says
    /// milliseconds.
    #[must_use]
    pub fn quantity(&self) -> Quantity {
        self.sources.first().map_or_else(Quantity::default, |source| source.quantity)
    }

    /// Batch and sequence length that [`Predictor::predict`] answers for.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.workloads.first().copied().unwrap_or_default()
    }

    /// Predicted latency in milliseconds and its interval of level [`LEVEL`], for the
    /// first of the workloads the predictor was fitted for.
    #[must_use]
    pub fn predict(&self, arch: &Architecture) -> Prediction {
        self.interval(arch, self.workload(), LEVEL)
    }

    /// As [`Predictor::predict`], with the interval of another level, from 0 to 1.
    #[must_use]
    pub fn predict_at_level(&self, arch: &Architecture, level: f64) -> Prediction {
        self.interval(arch, self.workload(), level)
    }

    /// As [`Predictor::predict`], for any batch and sequence length within those the
    /// predictor was fitted for, and any level from 0 to 1.
    ///
    /// # Errors
    /// [`PredictError::Workload`] if the workload lies outside.
    pub fn predict_for(
        &self,
        arch: &Architecture,
        workload: Workload,
        level: f64,
    ) -> Result<Prediction, PredictError> {
        if self.covers(workload) {
            return Ok(self.interval(arch, workload, level));
        }
        let fitted: Vec<String> = self.workloads.iter().map(|known| describe(*known)).collect();
        Err(PredictError::Workload {
            fitted: fitted.join("; "),
            batch: workload.batch,
            sequence: workload.sequence,
        })
    }

    fn covers(&self, workload: Workload) -> bool {
        let between = |size: fn(&Workload) -> usize| {
            let sizes = self.workloads.iter().map(size);
            let range = sizes.clone().min()..=sizes.max();
            range.contains(&Some(size(&workload)))
        };
        between(|workload| workload.batch) && between(|workload| workload.sequence)
    }

    fn interval(&self, arch: &Architecture, workload: Workload, level: f64) -> Prediction {
        let model = self.model.as_model();
        let latency_ms = model.latency_ms(arch, workload);
        let half_width =
            self.validation.residuals.half_width(level) * model.uncertainty(arch, workload);
        Prediction {
            latency_ms,
            low_ms: (latency_ms * (1.0 - half_width)).max(0.0),
            high_ms: latency_ms * (1.0 + half_width),
        }
    }

    /// Predicted latency alone, in milliseconds; cheaper than [`Predictor::predict`].
    #[must_use]
    pub fn latency_ms(&self, arch: &Architecture) -> f64 {
        self.model.as_model().latency_ms(arch, self.workload())
    }

    /// Predicted latency by part of the network, if the model can tell.
    #[must_use]
    pub fn breakdown(&self, arch: &Architecture) -> Option<Breakdown> {
        self.model.as_model().breakdown(arch, self.workload())
    }

    /// The model behind its common interface.
    #[must_use]
    pub fn as_model(&self) -> &dyn LatencyModel {
        self.model.as_model()
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

    /// Measured latency of a baseline in milliseconds, for the default workload.
    #[must_use]
    pub fn baseline_ms(&self, arch: &Architecture) -> Option<f64> {
        self.baselines
            .iter()
            .find(|baseline| baseline.arch == *arch && baseline.workload == self.workload())
            .map(|baseline| baseline.latency_ms)
    }

    /// Reads a predictor file.
    ///
    /// # Errors
    /// [`PredictorFileError`] naming the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, PredictorFileError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let text = fs::read_to_string(path)
            .map_err(|source| PredictorFileError::Io { path: path.to_owned(), source })?;
        let content = |error: serde_json::Error| PredictorFileError::Content {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let version: Version = serde_json::from_str(&text).map_err(content)?;
        if version.schema > SCHEMA {
            let (path, found) = (path.to_owned(), version.schema);
            return Err(PredictorFileError::NewerSchema { path, found });
        }
        serde_json::from_str(&text).map_err(content)
    }

    /// Writes the predictor file, through a temporary file in the same folder.
    ///
    /// # Errors
    /// [`PredictorFileError::Io`]; an existing file is then as it was.
    pub fn save(&self, path: &Path) -> Result<(), PredictorFileError> {
        let io_error = |source| PredictorFileError::Io { path: path.to_owned(), source };
        let text = serde_json::to_string_pretty(self).map_err(|error| io_error(error.into()))?;
        atb_files::write(path, format!("{text}\n").as_bytes()).map_err(io_error)
    }
}
