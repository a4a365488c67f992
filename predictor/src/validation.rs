//! What a model is worth on architectures it was not fitted on: cross-validation, and
//! from its errors the width of prediction intervals.

use atb_space::Architecture;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::FitError;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::observation::Observation;

/// Up to this many observations every one is left out on its own.
const LEAVE_ONE_OUT_UP_TO: usize = 40;
/// Number of folds above that.
const FOLDS: usize = 10;
/// How many of the worst predictions are kept.
const WORST: usize = 10;

/// The prediction of an architecture by a model that was fitted without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOutPrediction {
    /// The architecture.
    pub arch: Architecture,
    /// Its measured value.
    pub measured: f64,
    /// Its value as predicted without it.
    pub predicted: f64,
    /// Relative spread of its raw samples: an error not much larger is noise.
    pub spread: f64,
}

impl LeftOutPrediction {
    /// Signed relative error of the prediction.
    #[must_use]
    pub fn error(&self) -> f64 {
        (self.predicted - self.measured) / self.measured
    }

    /// The ten of `predictions` that are farthest off, worst first.
    pub(crate) fn worst(mut predictions: Vec<Self>) -> Vec<Self> {
        predictions.sort_by(|a, b| b.error().abs().total_cmp(&a.error().abs()));
        predictions.truncate(WORST);
        predictions
    }
}

/// The outcome of a cross-validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Number of folds; as many as observations when each was left out on its own.
    pub folds: usize,
    /// Errors on the architectures left out.
    pub metrics: Metrics,
    /// The ten predictions that were farthest off, worst first.
    pub worst: Vec<LeftOutPrediction>,
    /// All predictions, in the order of the observations; none in files of before they were kept.
    #[serde(default)]
    pub predictions: Vec<LeftOutPrediction>,
    /// What widens the intervals.
    pub residuals: Residuals,
}

/// The errors on architectures left out, ascending: each is the relative error over the
/// model's own [`uncertainty`](crate::Model::uncertainty) there.
///
/// With them intervals are conformal: whatever the errors' distribution, a new
/// measurement drawn like the old ones lies in the interval of confidence level `p` with a
/// probability of about `p`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Residuals(Vec<f64>);

impl Residuals {
    /// Residuals from errors in any order.
    #[must_use]
    pub fn new(mut scores: Vec<f64>) -> Self {
        scores.sort_by(f64::total_cmp);
        Self(scores)
    }

    /// Half-width of the interval of a confidence level `p` (0 to 1), relative to the
    /// prediction, where the model's uncertainty is 1: the `ceil((n + 1) p)`-th of the `n`
    /// residuals, infinite where that is more than there are.
    #[must_use]
    pub fn half_width(&self, confidence_level: f64) -> f64 {
        let share = confidence_level.clamp(0.0, 1.0);
        let rank = ((self.0.len() + 1) as f64 * share).ceil() as usize;
        match rank {
            0 => 0.0,
            _ => self.0.get(rank - 1).copied().unwrap_or(f64::INFINITY),
        }
    }
}

/// Number of folds for `count` observations.
pub(crate) fn folds_for(count: usize) -> usize {
    if count <= LEAVE_ONE_OUT_UP_TO { count } else { FOLDS }
}

/// Cross-validates any model: `fit` is called once per fold with the observations to fit on.
/// The seed decides which observations go into which fold.
///
/// # Errors
/// What `fit` says, or [`FitError::NothingFits`] if an error is not a finite number.
pub fn cross_validate<M: Model, E: From<FitError>>(
    observations: &[Observation],
    folds: usize,
    seed: u64,
    fit: impl Fn(&[Observation]) -> Result<M, E>,
) -> Result<Validation, E> {
    let count = observations.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut predicted = vec![0.0; count];
    let mut scores = vec![0.0; count];
    for fold in 0..folds {
        let left_out: Vec<usize> = order.iter().copied().skip(fold).step_by(folds).collect();
        let kept: Vec<Observation> = (0..count)
            .filter(|index| !left_out.contains(index))
            .map(|index| observations[index].clone())
            .collect();
        let model = fit(&kept)?;
        for index in left_out {
            let item = &observations[index];
            let prediction = model.value(&item.arch, item.workload);
            // Intervals are for one measurement, so they are made of single ones.
            let relative =
                (item.first - prediction).abs() / prediction.abs().max(f64::MIN_POSITIVE);
            predicted[index] = prediction;
            scores[index] = relative / model.uncertainty(&item.arch, item.workload);
        }
    }
    let measured: Vec<f64> = observations.iter().map(|item| item.value).collect();
    let metrics = Metrics::of(&predicted, &measured)
        .filter(|metrics| metrics.mape.is_finite() && metrics.rmse.is_finite())
        .filter(|_| scores.iter().all(|score| score.is_finite()))
        .ok_or(FitError::NothingFits { count })?;
    let predictions: Vec<LeftOutPrediction> = observations
        .iter()
        .zip(&predicted)
        .map(|(item, predicted)| LeftOutPrediction {
            arch: item.arch.clone(),
            measured: item.value,
            predicted: *predicted,
            spread: item.spread,
        })
        .collect();
    Ok(Validation {
        folds,
        metrics,
        worst: LeftOutPrediction::worst(predictions.clone()),
        predictions,
        residuals: Residuals::new(scores),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_half_width_is_the_conformal_quantile() {
        let residuals = Residuals::new((1..=19).rev().map(|i| f64::from(i) / 100.0).collect());
        // ceil(20 * 0.9) = 18th smallest.
        assert_eq!(residuals.half_width(0.9), 0.18);
        assert_eq!(residuals.half_width(0.5), 0.10);
        assert_eq!(residuals.half_width(0.0), 0.0);
        assert_eq!(residuals.half_width(0.99), f64::INFINITY);
    }
}
