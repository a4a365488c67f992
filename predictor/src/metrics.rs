//! How good predictions are.

use serde::{Deserialize, Serialize};

/// Errors and ranking of predictions against measurements. Shares and relative errors
/// are fractions: 0.02 is 2 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Number of predictions compared.
    pub count: usize,
    /// Mean absolute relative error (mean absolute percentage error, as a fraction).
    pub mape: f64,
    /// Root mean square error, in the unit of what is predicted.
    pub rmse: f64,
    /// Share of the predictions within 5 % of the measurement.
    pub within_5: f64,
    /// Share of the predictions within 10 % of the measurement.
    pub within_10: f64,
    /// Kendall's rank correlation tau-b; 0 where all values are tied.
    pub tau: f64,
}

impl Metrics {
    /// Compares predictions with measurements of the same length; `None` of nothing.
    #[must_use]
    pub fn of(predicted: &[f64], measured: &[f64]) -> Option<Self> {
        let count = predicted.len().min(measured.len());
        if count == 0 {
            return None;
        }
        let n = count as f64;
        let pairs = || predicted.iter().zip(measured);
        let errors: Vec<f64> = pairs().map(|(p, m)| ((p - m) / m).abs()).collect();
        let within = |limit| errors.iter().filter(|error| **error <= limit).count() as f64 / n;
        let tau = kendalls::tau_b_with_comparator(
            &predicted[..count],
            &measured[..count],
            f64::total_cmp,
        );
        Some(Self {
            count,
            mape: errors.iter().sum::<f64>() / n,
            rmse: (pairs().map(|(p, m)| (p - m).powi(2)).sum::<f64>() / n).sqrt(),
            within_5: within(0.05),
            within_10: within(0.10),
            tau: tau.map_or(0.0, |(tau, _)| if tau.is_finite() { tau } else { 0.0 }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_by_hand() {
        let metrics = Metrics::of(&[11.0, 20.0, 31.2, 40.8], &[10.0, 20.0, 30.0, 40.0])
            .expect("four predictions");
        assert_eq!(metrics.count, 4);
        assert!((metrics.mape - (0.1 + 0.0 + 0.04 + 0.02) / 4.0).abs() < 1e-12);
        assert!((metrics.rmse - ((1.0 + 1.44 + 0.64_f64) / 4.0).sqrt()).abs() < 1e-12);
        assert_eq!(metrics.within_5, 0.75);
        assert_eq!(metrics.within_10, 1.0);
        assert_eq!(metrics.tau, 1.0);
    }

    #[test]
    fn tau_counts_ties_as_tau_b_does() {
        // Pairs: 4 concordant, 1 discordant, 1 tied in the predictions.
        let metrics =
            Metrics::of(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 4.0, 3.0]).expect("four predictions");
        let expected = (4.0 - 1.0) / (5.0_f64 * 6.0).sqrt();
        assert!((metrics.tau - expected).abs() < 1e-12, "{}", metrics.tau);
        assert_eq!(Metrics::of(&[], &[]), None);
    }
}
