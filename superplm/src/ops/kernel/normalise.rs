//! LayerNorm.

use crate::vectorised::vectorised;
use rayon::prelude::*;

use super::{add_up, by_rows, sum, task_of_rows};

/// LayerNorm of each row of `x`.
pub(in super::super) fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    output: &mut [f32],
) {
    vectorised! {
        fn block(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, output: &mut [f32]) {
            let width = weight.len();
            for (x, output) in x.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
                let (centre, scale) = statistics(x, eps);
                for (((output, x), weight), bias) in output.iter_mut().zip(x).zip(weight).zip(bias) {
                    *output = (x - centre) * scale * weight + bias;
                }
            }
        }
    }
    let width = weight.len();
    by_rows(output, width, |first, output| {
        let x = &x[first * width..][..output.len()];
        block(x, weight, bias, eps, output);
    });
}

/// Mean and inverse standard deviation of a row.
#[inline(always)]
fn statistics(x: &[f32], eps: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let centre = sum(x, x, |value, _| value) / count;
    let variance = sum(x, x, |a, b| (a - centre) * (b - centre)) / count;
    (centre, 1.0 / (variance + eps).sqrt())
}

/// Replaces the gradient of [`layer_norm`]'s output by that of its `x`, and returns those of
/// `weight` and `bias`.
pub(in super::super) fn layer_norm_gradient(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    gradient: &mut [f32],
) -> [Vec<f32>; 2] {
    vectorised! {
        fn block(x: &[f32], weight: &[f32], eps: f32, gradient: &mut [f32], sums: &mut [Vec<f32>; 2]) {
            let width = weight.len();
            let mut normal = vec![0.0; width];
            let [weight_sum, bias_sum] = sums;
            for (x, gradient) in x.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
                let (centre, scale) = statistics(x, eps);
                for (normal, x) in normal.iter_mut().zip(x) {
                    *normal = (x - centre) * scale;
                }
                let own = gradient.iter().zip(&normal);
                for ((weight_sum, bias_sum), (gradient, normal)) in
                    weight_sum.iter_mut().zip(bias_sum.iter_mut()).zip(own)
                {
                    *weight_sum += gradient * normal;
                    *bias_sum += gradient;
                }
                for (gradient, weight) in gradient.iter_mut().zip(weight) {
                    *gradient *= weight;
                }
                let count = width as f32;
                let offset = sum(gradient, gradient, |value, _| value) / count;
                let along = sum(gradient, &normal, |a, b| a * b) / count;
                for (gradient, normal) in gradient.iter_mut().zip(&normal) {
                    *gradient = (*gradient - offset - normal * along) * scale;
                }
            }
        }
    }
    let width = weight.len();
    let task = task_of_rows(width);
    let partial: Vec<[Vec<f32>; 2]> = gradient
        .par_chunks_mut(task)
        .zip(x.par_chunks(task))
        .map(|(gradient, x)| {
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            block(x, weight, eps, gradient, &mut sums);
            sums
        })
        .collect();
    let (weight_sums, bias_sums): (Vec<_>, Vec<_>) =
        partial.into_iter().map(|[weight, bias]| (weight, bias)).unzip();
    [add_up(&weight_sums, width), add_up(&bias_sums, width)]
}
