//! The little dense linear algebra that fitting needs: least squares by Householder
//! reflections, and a symmetric inverse.

/// Relative size below which a pivot counts as zero.
const RANK_TOLERANCE: f64 = 1e-9;

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// The `x` that minimises the norm of `A x - target` for the columns of `A`; `None` if a
/// column depends on the ones before it, or there are more columns than rows.
pub(crate) fn least_squares(columns: &[&[f64]], target: &[f64]) -> Option<Vec<f64>> {
    let count = columns.len();
    if count > target.len() {
        return None;
    }
    let mut work: Vec<Vec<f64>> = columns.iter().map(|column| column.to_vec()).collect();
    let mut right = target.to_vec();
    for k in 0..count {
        let length = norm(&work[k][k..]);
        if length <= RANK_TOLERANCE * norm(columns[k]) {
            return None;
        }
        let alpha = if work[k][k] > 0.0 { -length } else { length };
        let mut reflector = work[k][k..].to_vec();
        reflector[0] -= alpha;
        let scale = 2.0 / dot(&reflector, &reflector);
        for vector in work[k..].iter_mut().chain([&mut right]) {
            let amount = scale * dot(&reflector, &vector[k..]);
            for (value, entry) in vector[k..].iter_mut().zip(&reflector) {
                *value -= amount * entry;
            }
        }
    }
    let mut x = vec![0.0; count];
    for k in (0..count).rev() {
        let known: f64 = (k + 1..count).map(|j| work[j][k] * x[j]).sum();
        x[k] = (right[k] - known) / work[k][k];
    }
    Some(x)
}

/// The inverse of a symmetric positive definite matrix, by Cholesky's decomposition;
/// `None` if it is not positive definite.
pub(crate) fn symmetric_inverse(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = matrix.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let rest = matrix[i][j] - dot(&lower[i][..j], &lower[j][..j]);
            if i == j {
                if rest <= RANK_TOLERANCE * RANK_TOLERANCE * matrix[i][i] {
                    return None;
                }
                lower[i][i] = rest.sqrt();
            } else {
                lower[i][j] = rest / lower[j][j];
            }
        }
    }
    let solve = |unit: usize| -> Vec<f64> {
        let mut y = vec![0.0; n];
        for i in 0..n {
            let one = if i == unit { 1.0 } else { 0.0 };
            y[i] = (one - dot(&lower[i][..i], &y[..i])) / lower[i][i];
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|j| lower[j][i] * y[j]).sum();
            y[i] = (y[i] - known) / lower[i][i];
        }
        y
    };
    Some((0..n).map(solve).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_by_hand() {
        // Straight line through (0, 1), (1, 2), (2, 4): slope 1.5, intercept 5 / 6.
        let x = least_squares(&[&[1.0, 1.0, 1.0], &[0.0, 1.0, 2.0]], &[1.0, 2.0, 4.0])
            .expect("independent columns");
        assert!((x[0] - 5.0 / 6.0).abs() < 1e-12 && (x[1] - 1.5).abs() < 1e-12, "{x:?}");
        assert_eq!(least_squares(&[&[1.0, 2.0], &[2.0, 4.0]], &[1.0, 1.0]), None);
        assert_eq!(least_squares(&[&[1.0], &[2.0]], &[1.0]), None);
    }

    #[test]
    fn inverse_by_hand() {
        let inverse = symmetric_inverse(&[vec![4.0, 2.0], vec![2.0, 3.0]]).expect("definite");
        let expected = [[0.375, -0.25], [-0.25, 0.5]];
        for (row, wanted) in inverse.iter().zip(expected) {
            assert!(row.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{inverse:?}");
        }
        assert_eq!(symmetric_inverse(&[vec![1.0, 1.0], vec![1.0, 1.0]]), None);
    }
}
