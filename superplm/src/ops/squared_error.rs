//! Squared errors over real tokens.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::engine::{Engine, Form};
use super::loops::{by_row, sum};
use super::operands::{last_axis, shaped, values, with_values};
use crate::vectorised::vectorised;

impl Engine {
    /// The sum of squared differences, a scalar, of hidden states `[batch, tokens, width]`
    /// over the real tokens or of attention scores `[batch, heads, tokens, tokens]` over the
    /// pairs of real tokens. `mask`, 0 or 1, is `[batch, tokens]` and gets no gradient.
    pub(crate) fn masked_squared_error(
        &self,
        a: &Tensor,
        b: &Tensor,
        mask: &Tensor,
    ) -> Result<Tensor> {
        if a.dims() != b.dims() {
            candle_core::bail!("shapes {:?} and {:?} cannot be compared", a.dims(), b.dims());
        }
        match self.form {
            Form::Fused => fused(a, b, mask),
            Form::Composite => composite(a, b, &mask.detach()),
        }
    }
}

fn composite(a: &Tensor, b: &Tensor, mask: &Tensor) -> Result<Tensor> {
    masked_difference(a, b, mask)?.sqr()?.sum_all()
}

/// The difference of `a` and `b`, zero where `mask` drops a token or one of a pair.
fn masked_difference(a: &Tensor, b: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let kept = if a.rank() == 4 {
        mask.unsqueeze(2)?.broadcast_mul(&mask.unsqueeze(1)?)?.unsqueeze(1)?
    } else {
        mask.unsqueeze(2)?
    };
    (a - b)?.broadcast_mul(&kept)
}

fn fused(a: &Tensor, b: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let mask = mask.detach().contiguous()?;
    a.contiguous()?.apply_op3(&b.contiguous()?, &mask, MaskedSquaredError)
}

struct MaskedSquaredError;

impl CustomOp3 for MaskedSquaredError {
    fn name(&self) -> &'static str {
        "masked-squared-error"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = last_axis(a_layout);
        let (a, b, mask) = (values(a, a_layout)?, values(b, b_layout)?, values(mask, mask_layout)?);
        let error = match a_layout.dims() {
            [_, heads, tokens, _] => squared_error_of_pairs(a, b, mask, *heads, *tokens),
            _ => squared_error_of_tokens(a, b, mask, width),
        };
        Ok((CpuStorage::F32(vec![error]), Shape::from(())))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        mask: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let scale = grad.to_scalar::<f32>()?;
        let difference = with_values(a, |a_values| {
            with_values(b, |b| {
                with_values(mask, |mask| match *a.dims() {
                    [_, heads, tokens, _] => {
                        error_gradient_of_pairs(a_values, b, mask, [heads, tokens], scale)
                    }
                    [_, _, width] => error_gradient_of_tokens(a_values, b, mask, width, scale),
                    _ => Vec::new(),
                })
            })
        })???;
        let a_grad = shaped(difference, a)?;
        // A teacher needs none.
        let b_grad = if b.track_op() { Some(a_grad.neg()?) } else { None };
        Ok((Some(a_grad), b_grad, None))
    }
}

vectorised! {
    fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        sum(a, b, |a, b| (a - b) * (a - b))
    }
}

/// Squared differences of `a` and `b`, `[batch, tokens, width]`, summed over the tokens
/// that `mask`, `[batch * tokens]`, keeps.
fn squared_error_of_tokens(a: &[f32], b: &[f32], mask: &[f32], width: usize) -> f32 {
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
fn squared_error_of_pairs(a: &[f32], b: &[f32], mask: &[f32], heads: usize, tokens: usize) -> f32 {
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
fn error_gradient_of_tokens(
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
fn error_gradient_of_pairs(
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::testing::{assert_alike, variable};
    use super::*;

    #[test]
    fn masked_squared_error_is_its_composite() {
        let mask = Tensor::new(&[[1f32, 1.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu);
        let mask = mask.expect("a tensor");
        for shape in [&[2, 3, 13][..], &[2, 4, 3, 3]] {
            let (a, b) = (variable(12, shape), variable(13, shape));
            assert_alike(&[&a, &b], || fused(&a, &b, &mask), || composite(&a, &b, &mask));
        }
    }
}
