//! The softmax of attention.

use super::super::functions::exp;
use super::super::loops::{largest, sum};
use crate::vectorised::vectorised;

vectorised! {
    /// Replaces each row of scores by the softmax of `score + penalty`.
    pub(super) fn masked_softmax_of_rows(scores: &mut [f32], penalty: &[f32]) {
        for row in scores.chunks_exact_mut(penalty.len()) {
            for (score, penalty) in row.iter_mut().zip(penalty) {
                *score += penalty;
            }
            let largest = largest(row);
            for value in row.iter_mut() {
                *value = exp(*value - largest);
            }
            let scale = 1.0 / sum(row, row, |value, _| value);
            for value in row.iter_mut() {
                *value *= scale;
            }
        }
    }
}

vectorised! {
    /// Replaces the gradient of a softmax's rows of `keys` by that of its scores.
    pub(super) fn softmax_gradient_of_rows(
        probabilities: &[f32],
        gradient: &mut [f32],
        keys: usize,
    ) {
        let rows = probabilities.chunks_exact(keys).zip(gradient.chunks_exact_mut(keys));
        for (probabilities, gradient) in rows {
            let along = sum(probabilities, gradient, |a, b| a * b);
            for (gradient, probability) in gradient.iter_mut().zip(probabilities) {
                *gradient = probability * (*gradient - along);
            }
        }
    }
}
