//! What a BERT is made of: on the CPU few fused operations, elsewhere those of candle.
//!
//! candle computes a LayerNorm or a softmax in half a dozen passes over memory, joins its
//! threads by spinning at a barrier after each, and sums gradients in fresh memory. Here a
//! whole transformer layer is one operation, parallel in rayon's pool, so that it nests in
//! whatever parallelism there is around it. Every fused operation has a composite form of
//! candle's own ones ([`composite`]), whose gradients are candle's; an [`Engine`] decides
//! which of the two runs.

mod composite;
mod cross_entropy;
mod elastic;
mod engine;
mod gradient;
mod kernel;
mod layer;
mod linear;
mod product;
mod scratch;
mod used;

use candle_core::WithDType;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor};

pub(crate) use elastic::{InPlace, Share};
pub(crate) use engine::{Engine, share_in_place, share_of_view};
pub(crate) use gradient::{Gradient, Part, Sum, Touched};
pub(crate) use layer::LayerShape;
pub(crate) use used::{Rows, Used};

/// The exact (Erf) GELU.
fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

/// `x + y + z` for `x` and `y` of `[rows, width]`; `z` of `[period, width]` is repeated.
fn add3(x: &Tensor, y: &Tensor, z: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&y.contiguous()?, &z.contiguous()?, Add3)
}

/// LayerNorm over the last axis.
fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, LayerNorm { eps })
}

/// The sum of squared differences, a scalar, of hidden states `[batch, tokens, width]` over
/// the real tokens or of attention scores `[batch, heads, tokens, tokens]` over the pairs of
/// real tokens. `mask`, 0 or 1, is `[batch, tokens]` and gets no gradient.
fn masked_squared_error(a: &Tensor, b: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let mask = mask.detach().contiguous()?;
    a.contiguous()?.apply_op3(&b.contiguous()?, &mask, MaskedSquaredError)
}

/// The values of a contiguous operand.
fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::msg("a fused operation needs contiguous operands"))?;
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// The f32 values of a contiguous operand.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    slice(storage, layout)
}

/// Calls `read` with the f32 values of a tensor on the CPU, row by row.
fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(read(values(storage, layout)?)),
        _ => candle_core::bail!("a fused operation needs operands on the CPU"),
    }
}

fn last_axis(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}

/// A tensor of the shape of `like`.
fn shaped(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(kernel::gelu(values(x, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = with_values(x, |x| with_values(grad, |grad| kernel::gelu_gradient(x, grad)))??;
        Ok(Some(shaped(grad, x)?))
    }
}

struct Add3;

impl CustomOp3 for Add3 {
    fn name(&self) -> &'static str {
        "add3"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output = kernel::add3(
            values(x, x_layout)?,
            values(y, y_layout)?,
            values(z, z_layout)?,
            last_axis(x_layout),
        );
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _y: &Tensor,
        z: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let length = z.elem_count();
        let repeated = with_values(grad, |grad| kernel::column_sums(grad, length))?;
        Ok((Some(grad.clone()), Some(grad.clone()), Some(shaped(repeated, z)?)))
    }
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
        kernel::layer_norm(
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
            with_values(weight, |weight| {
                kernel::layer_norm_gradient(x, weight, self.eps as f32, &mut x_grad)
            })
        })??;
        Ok((
            Some(shaped(x_grad, x)?),
            Some(shaped(weight_grad, weight)?),
            Some(shaped(bias_grad, bias)?),
        ))
    }
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
            [_, heads, tokens, _] => kernel::squared_error_of_pairs(a, b, mask, *heads, *tokens),
            _ => kernel::squared_error_of_tokens(a, b, mask, width),
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
                        kernel::error_gradient_of_pairs(a_values, b, mask, [heads, tokens], scale)
                    }
                    [_, _, width] => {
                        kernel::error_gradient_of_tokens(a_values, b, mask, width, scale)
                    }
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// A variable with values of about a standard deviation that `seed` fixes.
    pub(super) fn variable(seed: u64, shape: &[usize]) -> Var {
        let mut state = seed;
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
                ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 4.0
            })
            .collect();
        Var::from_vec(values, shape, &Device::Cpu).expect("a variable")
    }

    /// Some values of a gradient are finite differences of `value`.
    fn assert_differences(
        what: &str,
        variable: &Var,
        gradient: &Tensor,
        value: impl Fn() -> Result<f32>,
    ) {
        const STEP: f32 = 1e-2;
        let list = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
        let (original, gradient) = (list(variable), list(gradient));
        let at = |index: usize, offset: f32| {
            let mut values = original.clone();
            values[index] += offset;
            let values = Tensor::from_vec(values, variable.shape(), variable.device());
            values.and_then(|values| variable.set(&values)).expect("sets");
            f64::from(value().expect("a value"))
        };
        for index in (0..original.len()).step_by(original.len().div_ceil(7)) {
            let difference = (at(index, STEP) - at(index, -STEP)) / f64::from(2.0 * STEP);
            let found = f64::from(gradient[index]);
            let close = (found - difference).abs() < 2e-2 * (1.0 + difference.abs());
            assert!(close, "{what} at {index}: {found}, by differences {difference}");
        }
        at(0, 0.0);
    }

    /// Value and gradients of a fused form are those of its composite form, and the gradients
    /// are finite differences of the value.
    pub(super) fn assert_alike(
        variables: &[&Var],
        fused: impl Fn() -> Result<Tensor>,
        composite: impl Fn() -> Result<Tensor>,
    ) {
        let weights = variable(99, fused().expect("fused").dims());
        let gradients = assert_same(variables, &fused, composite);
        for (number, (variable, gradient)) in variables.iter().zip(gradients).enumerate() {
            assert_differences(&format!("gradient {number}"), variable, &gradient, || {
                fused()?.mul(&weights)?.sum_all()?.to_scalar::<f32>()
            });
        }
    }

    /// Value and gradients of a fused form are those of its composite form; the gradients.
    pub(super) fn assert_same(
        variables: &[&Var],
        fused: impl Fn() -> Result<Tensor>,
        composite: impl Fn() -> Result<Tensor>,
    ) -> Vec<Tensor> {
        let (fused, composite) = (fused().expect("fused"), composite().expect("composite"));
        close("value", &fused, &composite);
        // Weights that differ from value to value, so that every gradient path counts.
        let weights = variable(99, fused.dims());
        let backward = |result: &Tensor| {
            result
                .mul(&weights)
                .and_then(|product| product.sum_all()?.backward())
                .expect("gradients")
        };
        let (fused, composite) = (backward(&fused), backward(&composite));
        let gradient = |store: &candle_core::backprop::GradStore, variable: &Var| {
            store.get(variable.as_tensor()).expect("has a gradient").clone()
        };
        for (number, variable) in variables.iter().enumerate() {
            let (a, b) = (gradient(&fused, variable), gradient(&composite, variable));
            close(&format!("gradient {number}"), &a, &b);
        }
        variables.iter().map(|variable| gradient(&fused, variable)).collect()
    }

    pub(super) fn close(what: &str, a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims(), "{what}");
        let list = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
        for (a, b) in list(a).into_iter().zip(list(b)) {
            assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{what}: {a} for {b}");
        }
    }

    #[test]
    fn gelu_is_its_composite() {
        let x = variable(3, &[40, 33]);
        assert_alike(&[&x], || gelu(&x), || x.gelu_erf());
    }

    #[test]
    fn add3_is_its_composite() {
        for period in [1, 3, 6] {
            let (x, y) = (variable(5, &[6, 4]), variable(6, &[6, 4]));
            let z = variable(7, &[period, 4]);
            assert_alike(&[&x, &y, &z], || add3(&x, &y, &z), || composite::add3(&x, &y, &z));
        }
    }

    #[test]
    fn layer_norm_is_its_composite() {
        let (x, weight, bias) = (variable(8, &[9, 21]), variable(9, &[21]), variable(10, &[21]));
        assert_alike(
            &[&x, &weight, &bias],
            || layer_norm(&x, &weight, &bias, 1e-12),
            || composite::layer_norm(&x, &weight, &bias, 1e-12),
        );
    }

    #[test]
    fn masked_squared_error_is_its_composite() {
        let mask = Tensor::new(&[[1f32, 1.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu);
        let mask = mask.expect("a tensor");
        for shape in [&[2, 3, 13][..], &[2, 4, 3, 3]] {
            let (a, b) = (variable(12, shape), variable(13, shape));
            assert_alike(
                &[&a, &b],
                || masked_squared_error(&a, &b, &mask),
                || composite::masked_squared_error(&a, &b, &mask),
            );
        }
    }
}
