//! What a predictor is worth on measurements that it was not fitted on.

use atb_measurements::Quantity;
use atb_space::Workload;

use crate::metrics::Metrics;
use crate::observation::{Observation, Observations, Source};
use crate::predictor::{CONFIDENCE_LEVEL, PredictError, Predictor};
use crate::validation::LeftOutPrediction;

/// Predictions beside measurements that the predictor has not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Errors and ranking.
    pub metrics: Metrics,
    /// Share of the measurements inside the interval of confidence level [`CONFIDENCE_LEVEL`].
    pub coverage: f64,
    /// The ten predictions that were farthest off, worst first.
    pub worst: Vec<LeftOutPrediction>,
}

/// Why a predictor could not be evaluated.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EvaluationError {
    #[error("the measurements hold no architecture of the predictor's space `{space}`")]
    #[diagnostic(help("measure some with `atb profile --sampling uniform`"))]
    Nothing { space: String },
    #[error("the measurements are of the {measured}, the predictor predicts the {predicted}")]
    #[diagnostic(help("compare it with measurements of the same quantity"))]
    Quantity { measured: Quantity, predicted: Quantity },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Workload(#[from] PredictError),
}

impl Predictor {
    /// Compares predictions with what was measured of architectures of the predictor's
    /// space, on the scale of the predictor's own reference latency. Only single
    /// measurements count, as the intervals are for one.
    ///
    /// # Errors
    /// [`EvaluationError`] if there are none, or of a workload it was not fitted for.
    pub fn evaluate(&self, measured: &Observations) -> Result<Evaluation, EvaluationError> {
        let inside_space = |item: &&Observation| self.space.check(&item.arch).is_ok();
        if measured.quantity != self.quantity {
            let (measured, predicted) = (measured.quantity, self.quantity);
            return Err(EvaluationError::Quantity { measured, predicted });
        }
        let mut predicted = Vec::new();
        let mut actual = Vec::new();
        let mut covered = 0_usize;
        let mut predictions = Vec::new();
        for item in measured.items.iter().chain(&measured.checks).filter(inside_space) {
            let prediction = self.predict_for(&item.arch, item.workload, CONFIDENCE_LEVEL)?;
            let measured_value = item.first * self.scale_to(measured, item.workload);
            covered += usize::from(prediction.contains(measured_value));
            predicted.push(prediction.value);
            actual.push(measured_value);
            predictions.push(LeftOutPrediction {
                arch: item.arch.clone(),
                measured: measured_value,
                predicted: prediction.value,
                spread: item.spread,
            });
        }
        let Some(metrics) = Metrics::of(&predicted, &actual) else {
            return Err(EvaluationError::Nothing { space: self.space.name.clone() });
        };
        let coverage = covered as f64 / metrics.count as f64;
        Ok(Evaluation { metrics, coverage, worst: LeftOutPrediction::worst(predictions) })
    }

    /// What brings latencies of other measurements of the same device to this predictor's
    /// scale: the ratio of the reference latencies of the two. A workload that the predictor
    /// was not fitted on has no scale but the other's own, and other quantities have one
    /// scale everywhere.
    fn scale_to(&self, measured: &Observations, workload: Workload) -> f64 {
        if self.quantity != Quantity::Latency {
            return 1.0;
        }
        let reference = |sources: &[Source]| {
            let same = |source: &&Source| source.protocol.workload == workload;
            sources.iter().find(same).map(|source| source.reference_ms)
        };
        match (reference(&self.sources), reference(&measured.sources)) {
            (Some(own), Some(other)) if other > 0.0 => own / other,
            _ => 1.0,
        }
    }
}
