//! The little dense linear algebra that fitting needs: least squares by Householder
//! reflections, and Cholesky's decomposition.

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

/// Cholesky's factor of a symmetric positive definite matrix, built row by row.
#[derive(Clone, Debug, Default)]
pub struct Cholesky {
    /// The lower triangle.
    rows: Vec<Vec<f64>>,
}

impl Cholesky {
    /// The factor's row for one more row of the matrix: its entries up to, but without, the
    /// diagonal, and the diagonal. `None` if the matrix would not be positive definite, that
    /// is if what is left of the diagonal is not above `floor`.
    #[must_use]
    pub fn row(&self, entries: &[f64], diagonal: f64, floor: f64) -> Option<Vec<f64>> {
        let mut row = entries.to_vec();
        for j in 0..row.len() {
            let known = dot(&row[..j], &self.rows[j][..j]);
            row[j] = (row[j] - known) / self.rows[j][j];
        }
        let rest = diagonal - dot(&row, &row);
        (rest > floor).then(|| {
            row.push(rest.sqrt());
            row
        })
    }

    /// Adds a row that [`Cholesky::row`] gave.
    pub fn push(&mut self, row: Vec<f64>) {
        self.rows.push(row);
    }

    /// The `x` for which the matrix times `x` is `right`.
    #[must_use]
    pub fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut x = right.to_vec();
        for i in 0..x.len() {
            x[i] = (x[i] - dot(&self.rows[i][..i], &x[..i])) / self.rows[i][i];
        }
        for i in (0..x.len()).rev() {
            let known: f64 = (i + 1..x.len()).map(|k| self.rows[k][i] * x[k]).sum();
            x[i] = (x[i] - known) / self.rows[i][i];
        }
        x
    }

    /// Half the logarithm of the matrix's determinant.
    #[must_use]
    pub fn half_log_determinant(&self) -> f64 {
        self.rows.iter().enumerate().map(|(i, row)| row[i].ln()).sum()
    }
}

/// The inverse of a symmetric positive definite matrix; `None` if it is not positive
/// definite.
pub(crate) fn symmetric_inverse(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let mut factor = Cholesky::default();
    for (i, entries) in matrix.iter().enumerate() {
        let floor = RANK_TOLERANCE * RANK_TOLERANCE * entries[i];
        factor.push(factor.row(&entries[..i], entries[i], floor)?);
    }
    let solve = |unit: usize| {
        let right: Vec<f64> =
            (0..matrix.len()).map(|i| if i == unit { 1.0 } else { 0.0 }).collect();
        factor.solve(&right)
    };
    Some((0..matrix.len()).map(solve).collect())
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
