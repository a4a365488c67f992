//! What a candidate must meet: a band of latencies, and limits on its size.

use atb_measurements::Quantity;
use atb_predictor::Predictor;
use atb_settings::{Check, Checked, above_0_to};
use atb_space::{Architecture, Cost, Workload};
use serde::{Deserialize, Serialize};

use crate::SearchError;

/// What candidates must meet: a band of predicted latencies around a latency in milliseconds
/// or around a speed-up, and limits on their size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// The latency aimed at, in milliseconds.
    pub latency_ms: Option<f64>,
    /// How many times faster than `baseline` instead; [`Budget::DEFAULT_SPEEDUP`] if neither
    /// is given.
    pub speedup: Option<f64>,
    /// The architecture that speed-ups are quoted against.
    pub baseline: Architecture,
    /// Lower end of the band, as a multiple of the latency aimed at. Faster architectures are
    /// left out because larger ones are better.
    pub low: f64,
    /// Upper end of the band, as a multiple of the latency aimed at.
    pub high: f64,
    /// If given, the upper end of the prediction's interval of this confidence level (0 to 1)
    /// must not lie above the band, instead of the prediction alone.
    pub confidence_level: Option<f64>,
    /// Limits on the size.
    pub limits: Limits,
}

impl Default for Budget {
    /// The paper's band around the default speed-up against BERT-base.
    fn default() -> Self {
        Self {
            latency_ms: None,
            speedup: None,
            baseline: Architecture::bert_base(),
            low: 0.85,
            high: 1.1,
            confidence_level: None,
            limits: Limits::default(),
        }
    }
}

/// A budget on the device of a predictor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Band {
    /// The latency aimed at, in milliseconds.
    pub target_ms: f64,
    /// What was asked for.
    pub budget: Budget,
}

/// Upper limits on the size of a model; those that are absent do not limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most parameters of the whole model, embeddings and pooler included.
    pub parameters: Option<u64>,
    /// Most bytes of the model file ([`Cost::file_bytes`]).
    pub file_bytes: Option<u64>,
    /// Most bytes of f32 weights and activations in memory during a run
    /// ([`Cost::activation_bytes`]); a runtime adds its own buffers.
    pub memory_bytes: Option<u64>,
    /// Entries of the word embeddings.
    pub vocabulary: usize,
    /// Entries of the position embeddings.
    pub positions: usize,
    /// Bytes of a parameter in the file: 4 for f32, 2 for f16, 1 for int8.
    pub bytes_per_parameter: usize,
}

impl Default for Limits {
    /// No limit, and BERT's vocabulary and positions in f32.
    fn default() -> Self {
        Self {
            parameters: None,
            file_bytes: None,
            memory_bytes: None,
            vocabulary: 30_522,
            positions: 512,
            bytes_per_parameter: 4,
        }
    }
}

impl Checked for Limits {
    fn check(&self, at: &mut Check) {
        at.optional("parameters", self.parameters, 1..);
        at.optional("file_bytes", self.file_bytes, 1..);
        at.optional("memory_bytes", self.memory_bytes, 1..);
        at.range("vocabulary", self.vocabulary, 1..=10_000_000);
        at.range("positions", self.positions, 1..=1_000_000);
        at.range("bytes_per_parameter", self.bytes_per_parameter, 1..=8);
    }
}

impl Checked for Budget {
    fn check(&self, at: &mut Check) {
        let positive = above_0_to(1e9);
        at.optional("latency_ms", self.latency_ms, positive);
        at.optional("speedup", self.speedup, positive);
        if let (Some(_), Some(speedup)) = (self.latency_ms, self.speedup) {
            let expected = "no speed-up beside a latency in milliseconds: one of the two";
            at.that("speedup", speedup, false, expected);
        }
        let Self { low, high, .. } = *self;
        at.range("low", low, 0.0..=1_000.0);
        at.range("high", high, above_0_to(1_000.0));
        let ordered = low.partial_cmp(&high).is_none_or(std::cmp::Ordering::is_le);
        at.that("low", low, ordered, format!("at most `high`, {high}"));
        at.optional("confidence_level", self.confidence_level, 0.0..1.0);
        at.nested("limits", &self.limits);
    }
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.parameters.is_none() && self.file_bytes.is_none() && self.memory_bytes.is_none()
    }

    /// Whether an architecture run on `workload` keeps the limits. Grows with every size:
    /// what keeps them does so with any size lowered.
    #[must_use]
    pub fn admit(&self, arch: &Architecture, workload: Workload) -> bool {
        let (words, positions) = (self.vocabulary, self.positions);
        let within = |limit: Option<u64>, value: &dyn Fn() -> u64| {
            limit.is_none_or(|limit| value() <= limit)
        };
        within(self.parameters, &|| Cost::parameters(arch, words, positions))
            && within(self.file_bytes, &|| {
                Cost::file_bytes(arch, words, positions, self.bytes_per_parameter)
            })
            && within(self.memory_bytes, &|| {
                Cost::file_bytes(arch, words, positions, 4) + Cost::activation_bytes(arch, workload)
            })
    }
}

impl Budget {
    /// The speed-up that is aimed at when nothing else is.
    pub const DEFAULT_SPEEDUP: f64 = 16.0;

    /// The paper's band, 0.85 to 1.1 times `latency_ms`.
    #[must_use]
    pub fn paper(latency_ms: f64) -> Self {
        Self { latency_ms: Some(latency_ms), ..Self::default() }
    }

    /// The band from 0.85 times `latency_ms` up to it and not beyond.
    #[must_use]
    pub fn ceiling(latency_ms: f64) -> Self {
        Self { high: 1.0, ..Self::paper(latency_ms) }
    }

    /// What the budget is on the device of `predictor`.
    ///
    /// # Errors
    /// [`SearchError::Settings`] if it makes no sense, [`SearchError::Quantity`] if the
    /// predictor is not one of latencies, and [`SearchError::NoBaseline`] if it asks for a
    /// speed-up against an architecture that was not measured as a baseline there.
    pub fn on(&self, predictor: &Predictor) -> Result<Band, SearchError> {
        if predictor.quantity != Quantity::Latency {
            return Err(SearchError::Quantity { quantity: predictor.quantity });
        }
        self.checked()?;
        let target_ms = match (self.latency_ms, self.speedup) {
            (Some(latency_ms), _) => latency_ms,
            (None, speedup) => {
                self.baseline_ms(predictor)? / speedup.unwrap_or(Self::DEFAULT_SPEEDUP)
            }
        };
        Ok(Band { target_ms, budget: self.clone() })
    }

    fn baseline_ms(&self, predictor: &Predictor) -> Result<f64, SearchError> {
        predictor.baseline(&self.baseline).ok_or_else(|| SearchError::NoBaseline {
            arch: self.baseline.id(),
            known: predictor.baselines.iter().map(|known| known.arch.id()).collect(),
        })
    }
}

impl Band {
    /// The paper's band around `target_ms`.
    #[must_use]
    pub fn paper(target_ms: f64) -> Self {
        Self { target_ms, budget: Budget::paper(target_ms) }
    }

    /// Lower end of the band, in milliseconds.
    #[must_use]
    pub fn low_ms(&self) -> f64 {
        self.target_ms * self.budget.low
    }

    /// Upper end of the band, in milliseconds.
    #[must_use]
    pub fn high_ms(&self) -> f64 {
        self.target_ms * self.budget.high
    }

    /// Whether an architecture meets the budget by what `predictor` says of it.
    #[must_use]
    pub fn admits(&self, predictor: &Predictor, arch: &Architecture) -> bool {
        self.contains(predictor.value(arch)) && self.admits_in_band(predictor, arch)
    }

    /// The same for an architecture whose latency is known to lie in the band.
    pub(crate) fn admits_in_band(&self, predictor: &Predictor, arch: &Architecture) -> bool {
        let Budget { limits, confidence_level, .. } = &self.budget;
        limits.admit(arch, predictor.workload())
            && confidence_level
                .is_none_or(|level| predictor.predict_at(arch, level).high <= self.high_ms())
    }

    /// Whether being in the band is not all there is to meet.
    pub(crate) fn goes_beyond_band(&self) -> bool {
        self.budget.confidence_level.is_some() || !self.budget.limits.is_none()
    }

    /// Whether a latency in milliseconds lies in the band, its ends included.
    #[must_use]
    pub fn contains(&self, latency_ms: f64) -> bool {
        (self.low_ms()..=self.high_ms()).contains(&latency_ms)
    }
}
