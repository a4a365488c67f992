//! How sure a score is: percentile bootstrap over the examples, alone and paired.

use atb_measurements::percentile;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::{Metric, Outcomes};

/// Between what bounds a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

impl Interval {
    /// Whether zero lies outside of it.
    #[must_use]
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// How examples are drawn again.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// How often.
    pub resamples: usize,
    /// Share of the resamples that lie within an interval.
    pub confidence: f64,
    /// Seed of what is drawn.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, confidence: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    /// The interval of a metric.
    pub(crate) fn of(&self, metric: Metric, outcomes: &Outcomes) -> Option<Interval> {
        self.interval(outcomes.len(), |rows| metric.of(outcomes, rows))
    }

    /// The interval of a metric's difference between two models on the same examples.
    pub(crate) fn of_difference(
        &self,
        metric: Metric,
        [one, other]: [&Outcomes; 2],
    ) -> Option<Interval> {
        self.interval(one.len(), |rows| metric.of(one, rows) - metric.of(other, rows))
    }

    /// The interval of `value` over `count` examples drawn with replacement. Draws for which
    /// it is no number are left out; none if that is most of them.
    #[must_use]
    pub fn interval(
        &self,
        count: usize,
        value: impl Fn(&[usize]) -> f64 + Sync,
    ) -> Option<Interval> {
        if count == 0 || self.resamples == 0 {
            return None;
        }
        let drawn = (0..self.resamples as u64).into_par_iter().map_init(
            || vec![0; count],
            |rows, draw| {
                // A stream a draw, so that threads do not matter.
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream(draw);
                rows.iter_mut().for_each(|row| *row = rng.random_range(0..count));
                value(rows)
            },
        );
        let values: Vec<f64> = drawn.filter(|value| value.is_finite()).collect();
        if 2 * values.len() < self.resamples {
            return None;
        }
        let outside = 50.0 * (1.0 - self.confidence);
        let (low, high) = (percentile(&values, outside)?, percentile(&values, 100.0 - outside)?);
        Some(Interval { low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(resamples: usize) -> Bootstrap {
        Bootstrap { resamples, confidence: 0.95, seed: 3 }
    }

    /// Expected values from `numpy.percentile` of NumPy 2.4.6.
    #[test]
    fn quantiles_as_numpy_has_them() {
        let sorted = [1.0, 1.5, 2.6, 3.0, 4.0, 9.0];
        let quantile = |percent| percentile(&sorted, percent).expect("of some values");
        assert!((quantile(2.5) - 1.0625).abs() < 1e-12);
        assert!((quantile(97.5) - 8.375).abs() < 1e-12);
    }

    /// 400 labels of which 320 are right: the standard error is sqrt(0.8 * 0.2 / 400) = 0.02.
    #[test]
    fn the_interval_of_a_share_is_that_of_the_normal_distribution() {
        let actual = vec![1; 400];
        let predicted = (0..400).map(|row| usize::from(row % 5 != 0)).collect();
        let outcomes = Outcomes::Labels { predicted, actual, labels: 2 };
        let interval = bootstrap(4000).of(Metric::Accuracy, &outcomes).expect("an interval");
        assert!((interval.low - (0.8 - 1.96 * 0.02)).abs() < 0.004, "{interval:?}");
        assert!((interval.high - (0.8 + 1.96 * 0.02)).abs() < 0.004, "{interval:?}");
        let again = bootstrap(4000).of(Metric::Accuracy, &outcomes);
        assert_eq!(again, Some(interval));
    }

    #[test]
    fn pairing_takes_out_what_the_examples_have_in_common() {
        let outcomes = |wrong: &dyn Fn(usize) -> bool| Outcomes::Labels {
            predicted: (0..400).map(|row| usize::from(!wrong(row))).collect(),
            actual: vec![1; 400],
            labels: 2,
        };
        // The one is wrong wherever the other is, and ten times more.
        let (better, worse) =
            (outcomes(&|row| row % 3 == 0), outcomes(&|row| row % 3 == 0 || row % 40 == 1));
        let interval = bootstrap(1000).of_difference(Metric::Accuracy, [&better, &worse]);
        let interval = interval.expect("an interval");
        assert!(interval.excludes_zero() && interval.low > 0.0, "{interval:?}");
        let alone = bootstrap(1000).of(Metric::Accuracy, &better).expect("an interval");
        assert!(interval.high - interval.low < 0.5 * (alone.high - alone.low));
        let none = bootstrap(1000).of_difference(Metric::Accuracy, [&better, &better]);
        assert_eq!(none, Some(Interval { low: 0.0, high: 0.0 }));
    }

    #[test]
    fn what_is_no_number_has_no_interval() {
        let constant = Outcomes::Scores { predicted: vec![1.0; 9], actual: vec![0.0; 9] };
        assert_eq!(bootstrap(100).of(Metric::Pearson, &constant), None);
        assert_eq!(bootstrap(100).of(Metric::Accuracy, &Outcomes::Ranks(vec![])), None);
    }
}
