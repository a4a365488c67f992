//! Squared errors over real tokens, and their gradients.

use super::{by_row, sum};
use crate::vectorised::vectorised;

vectorised! {
    fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        sum(a, b, |a, b| (a - b) * (a - b))
    }
}

/// Squared differences of `a` and `b`, `[batch, tokens, width]`, summed over the tokens
/// that `mask`, `[batch * tokens]`, keeps.
pub(in super::super) fn squared_error_of_tokens(
    a: &[f32],
    b: &[f32],
    mask: &[f32],
    width: usize,
) -> f32 {
    let rows = by_row(mask.len(), 1, |i, output| {
        if mask[i] != 0.0 {
            let row = i * width..(i + 1) * width;
            output[0] = squared_distance(&a[row.clone()], &b[row]);
        }
    });
    rows.into_iter().map(f64::from).sum::<f64>() as f32
}

/// Squared differences of `a` and `b`, `[batch, heads, tokens, tokens]`, summed over the
/// pairs both of which `mask`, `[batch * tokens]`, keeps.
pub(in super::super) fn squared_error_of_pairs(
    a: &[f32],
    b: &[f32],
    mask: &[f32],
    heads: usize,
    tokens: usize,
) -> f32 {
    let rows = by_row(mask.len() * heads, 1, |i, output| {
        let (batch, query) = (i / (heads * tokens), i % tokens);
        let mask = &mask[batch * tokens..(batch + 1) * tokens];
        if mask[query] != 0.0 {
            let row = i * tokens..(i + 1) * tokens;
            let pairs = a[row.clone()].iter().zip(&b[row]).zip(mask);
            output[0] = pairs.map(|((a, b), mask)| mask * (a - b) * (a - b)).sum();
        }
    });
    rows.into_iter().map(f64::from).sum::<f64>() as f32
}

/// `2 (a - b) * scale` where `mask` keeps a token of `[batch, tokens, width]`, else zero.
pub(in super::super) fn error_gradient_of_tokens(
    a: &[f32],
    b: &[f32],
    mask: &[f32],
    width: usize,
    scale: f32,
) -> Vec<f32> {
    by_row(a.len(), width, |i, output| {
        let factor = 2.0 * scale * mask[i];
        for ((output, a), b) in output.iter_mut().zip(&a[i * width..]).zip(&b[i * width..]) {
            *output = factor * (a - b);
        }
    })
}

/// `2 (a - b) * scale` where `mask` keeps both tokens of a pair of `[batch, heads, tokens,
/// tokens]`, else zero.
pub(in super::super) fn error_gradient_of_pairs(
    a: &[f32],
    b: &[f32],
    mask: &[f32],
    [heads, tokens]: [usize; 2],
    scale: f32,
) -> Vec<f32> {
    by_row(a.len(), tokens, |i, output| {
        let (batch, query) = (i / (heads * tokens), i % tokens);
        let mask = &mask[batch * tokens..(batch + 1) * tokens];
        let factor = 2.0 * scale * mask[query];
        let pairs = a[i * tokens..].iter().zip(&b[i * tokens..]).zip(mask);
        for (output, ((a, b), mask)) in output.iter_mut().zip(pairs) {
            *output = factor * mask * (a - b);
        }
    })
}
