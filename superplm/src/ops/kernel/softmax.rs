//! Softmax, and the loss of masked language modelling, which is one.

use super::activation::exp;
use super::{by_row, sum};
use crate::vectorised::vectorised;

vectorised! {
    /// Replaces each row of scores by the softmax of `score + penalty`.
    pub(in super::super) fn masked_softmax_of_rows(scores: &mut [f32], penalty: &[f32]) {
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
    pub(in super::super) fn softmax_gradient_of_rows(
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

/// The largest value, found in 16 interleaved ones, so that it vectorises.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut partial = [f32::NEG_INFINITY; 16];
    let chunks = values.chunks_exact(partial.len());
    let rest = chunks.remainder();
    let mut take = |values: &[f32]| {
        for (partial, value) in partial.iter_mut().zip(values) {
            *partial = if value > partial { *value } else { *partial };
        }
    };
    chunks.for_each(&mut take);
    take(rest);
    partial.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

vectorised! {
    fn log_normaliser(logits: &[f32]) -> f32 {
        let largest = largest(logits);
        sum(logits, logits, |logit, _| exp(logit - largest)).ln() + largest
    }
}

/// `-log softmax(logits)[label]`, summed over the rows.
pub(in super::super) fn cross_entropy(logits: &[f32], labels: &[i64], classes: usize) -> f32 {
    let rows = by_row(labels.len(), 1, |i, output| {
        let logits = &logits[i * classes..(i + 1) * classes];
        output[0] = log_normaliser(logits) - logits[labels[i] as usize];
    });
    rows.into_iter().map(f64::from).sum::<f64>() as f32
}

/// `(softmax(logits) - one_hot(labels)) * grad`.
pub(in super::super) fn cross_entropy_gradient(
    logits: &[f32],
    labels: &[i64],
    classes: usize,
    grad: f32,
) -> Vec<f32> {
    vectorised! {
        fn probabilities(logits: &[f32], factor: f32, output: &mut [f32]) {
            let largest = largest(logits);
            for (output, logit) in output.iter_mut().zip(logits) {
                *output = exp(logit - largest);
            }
            let scale = factor / sum(output, output, |value, _| value);
            for value in output.iter_mut() {
                *value *= scale;
            }
        }
    }
    by_row(logits.len(), classes, |i, output| {
        probabilities(&logits[i * classes..(i + 1) * classes], grad, output);
        output[labels[i] as usize] -= grad;
    })
}
