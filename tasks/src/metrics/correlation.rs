//! Correlation coefficients.

/// Pearson's coefficient; NaN of a constant.
pub(super) fn pearson(one: &[f64], other: &[f64]) -> f64 {
    let count = one.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mean_one, mean_other) = (mean(one), mean(other));
    let (mut product, mut square_one, mut square_other) = (0.0, 0.0, 0.0);
    for (a, b) in one.iter().zip(other) {
        let (a, b) = (a - mean_one, b - mean_other);
        product += a * b;
        square_one += a * a;
        square_other += b * b;
    }
    if square_one == 0.0 || square_other == 0.0 {
        return f64::NAN;
    }
    (product / (square_one.sqrt() * square_other.sqrt())).clamp(-1.0, 1.0)
}

/// Spearman's coefficient: Pearson's of the ranks.
pub(super) fn spearman(one: &[f64], other: &[f64]) -> f64 {
    if one.iter().chain(other).any(|value| value.is_nan()) {
        return f64::NAN;
    }
    pearson(&ranks(one), &ranks(other))
}

/// The rank of each value from 1; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let mean = start as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|index| ranks[*index] = mean);
        start += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from `pearsonr` and `spearmanr` of scipy 1.17.1.
    #[test]
    fn as_scipy_has_them() {
        let with_ties =
            ([0.1, 0.4, 0.4, 0.9, -0.3, 0.4, 0.75, 0.2], [1.0, 2.5, 3.0, 5.0, 0.0, 2.5, 4.2, 2.5]);
        assert!((pearson(&with_ties.0, &with_ties.1) - 0.976438328226928).abs() < 1e-15);
        assert!((spearman(&with_ties.0, &with_ties.1) - 0.95).abs() < 1e-15);
        let one = [3.2, 1.1, 4.8, 2.2, 2.2, 0.4, 5.0];
        let other = [2.0, 2.6, 4.0, 1.5, 3.3, 0.2, 3.9];
        assert!((pearson(&one, &other) - 0.7858106147848241).abs() < 1e-15);
        assert!((spearman(&one, &other) - 0.7387687194103584).abs() < 1e-15);
    }

    #[test]
    fn a_constant_has_none() {
        assert!(pearson(&[1.0, 1.0], &[0.0, 1.0]).is_nan());
        assert!(spearman(&[1.0, 2.0], &[3.0, 3.0]).is_nan());
        assert!(spearman(&[1.0, f64::NAN], &[3.0, 4.0]).is_nan());
        assert_eq!(ranks(&[2.0, 1.0, 2.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
    }
}
