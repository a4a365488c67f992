//! LayerNorm over the last axis.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::engine::{Engine, Form};
use super::loops::{add_up, by_rows, sum, task_of_rows};
use super::operands::{shaped, values, with_values};
use crate::vectorised::vectorised;

impl Engine {
    /// LayerNorm over the last axis.
    pub(crate) fn layer_norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<Tensor> {
        match self.form {
            Form::Fused => fused(x, weight, bias, eps),
            Form::Composite => composite(x, weight, bias, eps),
        }
    }
}

pub(super) fn composite(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)
}

fn fused(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, LayerNorm { eps })
}

struct LayerNorm {
    eps: f64,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values(x, x_layout)?;
        let mut output = vec![0.0; x.len()];
        kernel(
            x,
            values(weight, weight_layout)?,
            values(bias, bias_layout)?,
            self.eps as f32,
            &mut output,
        );
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut x_grad = with_values(grad, <[f32]>::to_vec)?;
        let [weight_grad, bias_grad] = with_values(x, |x| {
            with_values(weight, |weight| gradient(x, weight, self.eps as f32, &mut x_grad))
        })??;
        Ok((
            Some(shaped(x_grad, x)?),
            Some(shaped(weight_grad, weight)?),
            Some(shaped(bias_grad, bias)?),
        ))
    }
}

/// LayerNorm of each row of `x`.
pub(super) fn kernel(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, output: &mut [f32]) {
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

/// Replaces the gradient of [`kernel`]'s output by that of its `x`, and returns those of
/// `weight` and `bias`.
pub(super) fn gradient(x: &[f32], weight: &[f32], eps: f32, gradient: &mut [f32]) -> [Vec<f32>; 2] {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_alike, variable};
    use super::*;

    #[test]
    fn layer_norm_is_its_composite() {
        let (x, weight, bias) = (variable(8, &[9, 21]), variable(9, &[21]), variable(10, &[21]));
        assert_alike(
            &[&x, &weight, &bias],
            || fused(&x, &weight, &bias, 1e-12),
            || composite(&x, &weight, &bias, 1e-12),
        );
    }
}
