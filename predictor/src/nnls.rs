//! Non-negative least squares by the active-set method of Lawson and Hanson (Solving
//! Least Squares Problems, 1974, chapter 23).

use crate::linear;

/// The `x >= 0` that minimises the Euclidean norm of `A x - target`, where `columns` are
/// the columns of `A`. A column that depends linearly on chosen ones stays at zero.
///
/// Columns are scaled to length one inside, so their units do not matter.
#[must_use]
pub fn nnls(columns: &[Vec<f64>], target: &[f64]) -> Vec<f64> {
    let lengths: Vec<f64> = columns.iter().map(|column| linear::norm(column)).collect();
    let scaled: Vec<Vec<f64>> = columns
        .iter()
        .zip(&lengths)
        .map(|(column, length)| {
            column.iter().map(|value| value / length.max(f64::MIN_POSITIVE)).collect()
        })
        .collect();
    let mut solver = Solver {
        columns: &scaled,
        target,
        solution: vec![0.0; columns.len()],
        passive: Vec::new(),
    };
    solver.run();
    solver
        .solution
        .iter()
        .zip(&lengths)
        .map(|(x, length)| if *x > 0.0 { x / length } else { 0.0 })
        .collect()
}

struct Solver<'a> {
    columns: &'a [Vec<f64>],
    target: &'a [f64],
    solution: Vec<f64>,
    /// Indices of the columns whose coefficient is free to be positive.
    passive: Vec<usize>,
}

impl Solver<'_> {
    fn run(&mut self) {
        let tolerance = 1e-10 * linear::norm(self.target);
        let mut rejected = vec![false; self.columns.len()];
        // Each round adds a column; the method ends on its own, the bound guards against
        // cycling on rounding errors.
        for _ in 0..10 * self.columns.len() {
            let residual = self.residual();
            let steepest = (0..self.columns.len())
                .filter(|j| !rejected[*j] && !self.passive.contains(j))
                .map(|j| (j, linear::dot(&self.columns[j], &residual)))
                .filter(|(_, slope)| *slope > tolerance)
                .max_by(|a, b| a.1.total_cmp(&b.1));
            let Some((column, _)) = steepest else { break };
            self.passive.push(column);
            let accepted = match self.least_squares() {
                Some(trial) if trial[trial.len() - 1] > 0.0 => {
                    self.move_to(trial);
                    true
                }
                _ => false,
            };
            if accepted {
                rejected.fill(false);
            } else {
                self.passive.pop();
                rejected[column] = true;
            }
        }
    }

    fn residual(&self) -> Vec<f64> {
        let mut residual = self.target.to_vec();
        for &j in &self.passive {
            for (value, entry) in residual.iter_mut().zip(&self.columns[j]) {
                *value -= self.solution[j] * entry;
            }
        }
        residual
    }

    fn least_squares(&self) -> Option<Vec<f64>> {
        let columns: Vec<&[f64]> =
            self.passive.iter().map(|&j| self.columns[j].as_slice()).collect();
        linear::least_squares(&columns, self.target)
    }

    /// Moves from the solution towards the unconstrained one of the passive columns, as
    /// far as all stay non-negative; those that reach zero leave the passive set.
    fn move_to(&mut self, mut trial: Vec<f64>) {
        loop {
            let step = self
                .passive
                .iter()
                .zip(&trial)
                .filter(|(_, z)| **z <= 0.0)
                .map(|(&j, z)| self.solution[j] / (self.solution[j] - z))
                .fold(1.0, f64::min);
            for (&j, z) in self.passive.iter().zip(&trial) {
                self.solution[j] += step * (z - self.solution[j]);
            }
            if trial.iter().all(|z| *z > 0.0) {
                return;
            }
            let solution = &mut self.solution;
            self.passive.retain(|&j| {
                let stays = solution[j] > 1e-14;
                if !stays {
                    solution[j] = 0.0;
                }
                stays
            });
            match self.least_squares() {
                Some(next) => trial = next,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn cases_by_hand() {
        let identity = [vec![1.0, 0.0], vec![0.0, 1.0]];
        assert_eq!(nnls(&identity, &[2.0, -3.0]), [2.0, 0.0]);
        // Unconstrained: (2, -1). On the boundary the first column alone gives 9 / 6.
        let columns = [vec![1.0, 2.0, 1.0], vec![1.0, 1.0, 2.0]];
        let target = [1.0, 3.0, 0.0];
        let x = nnls(&columns, &target);
        assert!((x[0] - 7.0 / 6.0).abs() < 1e-12 && x[1] == 0.0, "{x:?}");
        // A column twice, in other units: the fit is exact whichever of them is used.
        let x = nnls(&[vec![1.0, 2.0], vec![1000.0, 2000.0]], &[3.0, 6.0]);
        assert!((x[0] + 1000.0 * x[1] - 3.0).abs() < 1e-9, "{x:?}");
        assert_eq!(nnls(&[vec![0.0, 0.0]], &[1.0, 1.0]), [0.0]);
    }

    #[test]
    fn random_problems_meet_the_optimality_conditions() {
        // Karush-Kuhn-Tucker: the gradient is zero where x > 0 and not negative elsewhere.
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for case in 0..200 {
            let (rows, count) = (10 + case % 30, 2 + case % 15);
            let mut columns: Vec<Vec<f64>> = (0..count)
                .map(|_| (0..rows).map(|_| rng.random_range(0.0..1.0)).collect())
                .collect();
            // Two columns that are nearly alike, as a size and its rounded self are.
            columns[1] = columns[0]
                .iter()
                .map(|value| value * (1.0 + 1e-4 * rng.random_range(0.0..1.0)))
                .collect();
            let target: Vec<f64> = (0..rows).map(|_| rng.random_range(-0.5..1.0)).collect();
            let x = nnls(&columns, &target);
            let mut residual = target.clone();
            for (column, x) in columns.iter().zip(&x) {
                assert!(*x >= 0.0);
                for (value, entry) in residual.iter_mut().zip(column) {
                    *value -= x * entry;
                }
            }
            for (column, x) in columns.iter().zip(&x) {
                let slope = linear::dot(column, &residual) / linear::norm(column);
                assert!(slope < 1e-8, "case {case}: a column that would help was left out");
                assert!(*x == 0.0 || slope > -1e-8, "case {case}: slope {slope} at x = {x}");
            }
        }
    }
}
