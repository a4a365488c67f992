//! The exact (Erf) GELU.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::engine::{Engine, Form};
use super::functions::{erf, exp};
use super::loops::{TASK, multiply_by};
use super::operands::{shaped, values, with_values};
use crate::vectorised::vectorised;

const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;

impl Engine {
    /// The exact (Erf) GELU.
    pub(crate) fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => fused(x),
            Form::Composite => x.gelu_erf(),
        }
    }
}

fn fused(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(gelu(values(x, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = with_values(x, |x| with_values(grad, |grad| gelu_gradient(x, grad)))??;
        Ok(Some(shaped(grad, x)?))
    }
}

fn gelu(x: &[f32]) -> Vec<f32> {
    vectorised! {
        fn block(x: &[f32], output: &mut [f32]) {
            for (output, x) in output.iter_mut().zip(x) {
                *output = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
            }
        }
    }
    let mut output = vec![0.0; x.len()];
    output.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(output, x)| block(x, output));
    output
}

/// `grad * d/dx x Φ(x)`.
fn gelu_gradient(x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (mut values, mut slope) = (x.to_vec(), vec![0.0; x.len()]);
    gelu_with_slope(&mut values, &mut slope);
    multiply_by(&mut slope, grad);
    slope
}

/// Replaces values by their GELU `x Φ(x)` and sets `slope` to its derivative `Φ(x) + x φ(x)`.
pub(super) fn gelu_with_slope(values: &mut [f32], slope: &mut [f32]) {
    vectorised! {
        fn block(values: &mut [f32], slope: &mut [f32]) {
            for (value, slope) in values.iter_mut().zip(slope) {
                let x = *value;
                let distribution = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                *slope = distribution + x * FRAC_1_SQRT_TAU * exp(-0.5 * x * x);
                *value = x * distribution;
            }
        }
    }
    values.par_chunks_mut(TASK).zip(slope.par_chunks_mut(TASK)).for_each(|(v, s)| block(v, s));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_alike, variable};
    use super::*;

    #[test]
    fn gelu_is_its_composite() {
        let x = variable(3, &[40, 33]);
        assert_alike(&[&x], || fused(&x), || x.gelu_erf());
    }
}
