//! What a candidate must meet: a band of latencies.

use atb_predictor::Predictor;
use atb_space::Architecture;
use serde::{Deserialize, Serialize};

use crate::SearchError;

/// The band of predicted latencies that candidates lie in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The latency aimed at, in milliseconds.
    pub target_ms: f64,
    /// Lower end of the band, as a multiple of the target. Faster architectures are left
    /// out because larger ones are better.
    pub low: f64,
    /// Upper end of the band, as a multiple of the target.
    pub high: f64,
}

impl Budget {
    /// The paper's band, 0.85 to 1.1 times `target_ms`.
    #[must_use]
    pub fn paper(target_ms: f64) -> Self {
        Self { target_ms, low: 0.85, high: 1.1 }
    }

    /// The band from 0.85 times `target_ms` up to it and not beyond.
    #[must_use]
    pub fn ceiling(target_ms: f64) -> Self {
        Self { target_ms, low: 0.85, high: 1.0 }
    }

    /// The latency that is `speedup` times lower than the one measured of `baseline` on
    /// the predictor's device, in milliseconds.
    ///
    /// # Errors
    /// [`SearchError::NoBaseline`] if the baseline was not measured there, or
    /// [`SearchError::Budget`] if `speedup` is not a positive number.
    pub fn speedup_ms(
        predictor: &Predictor,
        baseline: &Architecture,
        speedup: f64,
    ) -> Result<f64, SearchError> {
        if !(speedup.is_finite() && speedup > 0.0) {
            return Err(SearchError::Budget { what: "the speed-up", value: speedup });
        }
        let baseline_ms =
            predictor.baseline_ms(baseline).ok_or_else(|| SearchError::NoBaseline {
                arch: baseline.id(),
                known: predictor.baselines.iter().map(|known| known.arch.id()).collect(),
            })?;
        Ok(baseline_ms / speedup)
    }

    /// Lower end of the band, in milliseconds.
    #[must_use]
    pub fn low_ms(&self) -> f64 {
        self.target_ms * self.low
    }

    /// Upper end of the band, in milliseconds.
    #[must_use]
    pub fn high_ms(&self) -> f64 {
        self.target_ms * self.high
    }

    /// Whether a latency in milliseconds lies in the band, its ends included.
    #[must_use]
    pub fn contains(&self, latency_ms: f64) -> bool {
        (self.low_ms()..=self.high_ms()).contains(&latency_ms)
    }

    pub(crate) fn check(&self) -> Result<(), SearchError> {
        for (what, value) in [
            ("the target latency", self.target_ms),
            ("the upper end of the latency band", self.high),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(SearchError::Budget { what, value });
            }
        }
        if !(self.low >= 0.0 && self.low <= self.high) {
            let what = "the lower end of the latency band";
            return Err(SearchError::Budget { what, value: self.low });
        }
        Ok(())
    }
}
