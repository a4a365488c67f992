//! A model of the fitness: Gaussian process regression (Rasmussen and Williams, Gaussian
//! Processes for Machine Learning, 2006, algorithm 2.1).

use atb_predictor::Cholesky;

/// Length scales tried, in standard deviations of the points' coordinates.
const LENGTH_SCALES: [f64; 5] = [0.7, 1.2, 2.0, 3.5, 6.0];
/// Least part of a diagonal entry that must be left of it.
const FLOOR: f64 = 1e-12;
/// Noise variances tried, relative to the values' variance.
const NOISE_VARIANCES: [f64; 4] = [1e-6, 1e-4, 1e-2, 1e-1];

/// A Gaussian process with a squared exponential kernel, fitted to values at points.
#[derive(Clone, Debug)]
pub(crate) struct Surrogate {
    /// What coordinates are shifted and divided by; zero where they do not vary.
    centre: Vec<f64>,
    scale: Vec<f64>,
    mean: f64,
    deviation: f64,
    length: f64,
    noise: f64,
    points: Vec<Vec<f64>>,
    /// Standardised values.
    values: Vec<f64>,
    /// Of the kernel matrix.
    factor: Cholesky,
    /// The kernel matrix's inverse times the values.
    weights: Vec<f64>,
}

impl Surrogate {
    /// Fits the process, its length scale and noise by the highest marginal likelihood;
    /// `None` if the values are all alike or there are fewer than three.
    pub(crate) fn fit(points: Vec<Vec<f64>>, values: Vec<f64>) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation =
            (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        if values.len() < 3 || deviation.is_nan() || deviation <= 0.0 {
            return None;
        }
        let dimensions = points[0].len();
        let column = |axis: usize| points.iter().map(move |point| point[axis]);
        let centre: Vec<f64> =
            (0..dimensions).map(|axis| column(axis).sum::<f64>() / count).collect();
        let scale = (0..dimensions)
            .map(|axis| {
                let squares: f64 = column(axis).map(|x| (x - centre[axis]).powi(2)).sum();
                if squares > 0.0 { (count / squares).sqrt() } else { 0.0 }
            })
            .collect();
        let mut base = Self {
            centre,
            scale,
            mean,
            deviation,
            length: 1.0,
            noise: 1.0,
            points: Vec::new(),
            values: values.iter().map(|value| (value - mean) / deviation).collect(),
            factor: Cholesky::default(),
            weights: Vec::new(),
        };
        base.points = points.iter().map(|point| base.standardised(point)).collect();
        let settings = LENGTH_SCALES
            .into_iter()
            .flat_map(|length| NOISE_VARIANCES.into_iter().map(move |noise| (length, noise)));
        settings
            .filter_map(|(length, noise)| {
                let fitted = Self { length, noise, ..base.clone() }.solved()?;
                Some((fitted.log_likelihood(), fitted))
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, fitted)| fitted)
    }

    fn standardised(&self, point: &[f64]) -> Vec<f64> {
        point
            .iter()
            .zip(&self.centre)
            .zip(&self.scale)
            .map(|((x, centre), scale)| (x - centre) * scale)
            .collect()
    }

    fn kernel(&self, a: &[f64], b: &[f64]) -> f64 {
        let squares: f64 = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum();
        (-squares / (2.0 * self.length * self.length)).exp()
    }

    /// Computes factor and weights; `None` if the kernel matrix is not positive definite.
    fn solved(mut self) -> Option<Self> {
        self.factor = Cholesky::default();
        for i in 0..self.points.len() {
            let row = self.factor_row(&self.points[i], i)?;
            self.factor.push(row);
        }
        self.weights = self.factor.solve(&self.values);
        Some(self)
    }

    /// The factor's row for a point beside the first `before` ones.
    fn factor_row(&self, point: &[f64], before: usize) -> Option<Vec<f64>> {
        let near: Vec<f64> =
            self.points[..before].iter().map(|other| self.kernel(point, other)).collect();
        self.factor.row(&near, 1.0 + self.noise, FLOOR)
    }

    fn log_likelihood(&self) -> f64 {
        let fit: f64 = self.values.iter().zip(&self.weights).map(|(v, w)| v * w).sum();
        -0.5 * fit - self.factor.half_log_determinant()
    }

    /// Expected value at a point and its standard deviation.
    pub(crate) fn predict(&self, point: &[f64]) -> (f64, f64) {
        let point = self.standardised(point);
        let near: Vec<f64> = self.points.iter().map(|other| self.kernel(&point, other)).collect();
        let expected: f64 = near.iter().zip(&self.weights).map(|(k, w)| k * w).sum();
        let variance = match self.factor_row(&point, self.points.len()) {
            Some(row) => row[row.len() - 1].powi(2) - self.noise,
            None => 0.0,
        };
        (self.mean + self.deviation * expected, self.deviation * variance.max(0.0).sqrt())
    }

    /// The process as if the expected value had been seen at `point`.
    pub(crate) fn with_expected(mut self, point: Vec<f64>) -> Self {
        let (expected, _) = self.predict(&point);
        let point = self.standardised(&point);
        if let Some(row) = self.factor_row(&point, self.points.len()) {
            self.factor.push(row);
            self.points.push(point);
            self.values.push((expected - self.mean) / self.deviation);
            self.weights = self.factor.solve(&self.values);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<Vec<f64>> {
        (0..25).map(|i| vec![f64::from(i % 5), f64::from(i / 5), 7.0]).collect()
    }

    #[test]
    fn interpolates_a_smooth_function_and_knows_where_it_does_not_know() {
        let value = |p: &[f64]| (p[0] / 2.0).sin() + 0.1 * p[1] * p[1];
        let values = grid().iter().map(|p| value(p)).collect();
        let surrogate = Surrogate::fit(grid(), values).expect("varies");
        for point in [[0.5, 1.5, 7.0], [2.2, 3.1, 7.0], [3.0, 3.0, 7.0]] {
            let (mean, deviation) = surrogate.predict(&point);
            assert!((mean - value(&point)).abs() < 0.05, "{mean} for {}", value(&point));
            assert!(deviation < 0.1, "{deviation}");
        }
        let far = surrogate.predict(&[40.0, -30.0, 7.0]);
        let near = surrogate.predict(&[2.5, 2.5, 7.0]);
        assert!(far.1 > 5.0 * near.1, "{far:?} {near:?}");
        // A point taken as seen keeps its mean and loses its uncertainty.
        let point = vec![8.0, 8.0, 7.0];
        let before = surrogate.predict(&point);
        let after = surrogate.with_expected(point.clone()).predict(&point);
        assert!((before.0 - after.0).abs() < 1e-3 * (1.0 + before.0.abs()));
        assert!(after.1 < 0.5 * before.1, "{before:?} {after:?}");
    }

    #[test]
    fn nothing_is_learnt_from_equal_values() {
        assert!(Surrogate::fit(grid(), vec![1.0; 25]).is_none());
        assert!(Surrogate::fit(vec![vec![1.0], vec![2.0]], vec![1.0, 2.0]).is_none());
    }
}
