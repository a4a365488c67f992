//! The element-wise passes of a BERT layer, each as one fused operation on the CPU.
//!
//! candle computes a LayerNorm or a softmax in half a dozen passes over memory, and joins
//! its threads by spinning at a barrier after each, which several batches at a time do not
//! survive. Here each is one pass, parallel over rows in rayon's pool, so that it nests in
//! whatever parallelism there is around it. On other devices the [`composite`] forms are
//! used; the gradients are made of candle's own operations everywhere.

mod composite;
mod cross_entropy;
mod elastic;
mod gradient;
mod kernel;

use candle_core::WithDType;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor};

pub(crate) use cross_entropy::cross_entropy;
pub(crate) use elastic::{lookup, part};
pub(crate) use gradient::{Gradient, Part, Sum, Touched};

/// `(x + bias) * scale`, `x` of `[rows, width]` and `bias` of `[width]`.
pub(crate) fn add_bias(x: &Tensor, bias: &Tensor, scale: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias { scale })
    } else {
        composite::add_bias(x, bias, scale)
    }
}

/// `gelu(x + bias)` with the exact (Erf) GELU.
pub(crate) fn bias_gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op2(&bias.contiguous()?, BiasGelu)
    } else {
        composite::bias_gelu(x, bias)
    }
}

/// `x + y + z` for `x` and `y` of `[rows, width]`; `z` of `[period, width]` is repeated.
pub(crate) fn add3(x: &Tensor, y: &Tensor, z: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op3(&y.contiguous()?, &z.contiguous()?, Add3)
    } else {
        composite::add3(x, y, z)
    }
}

/// LayerNorm over the last axis.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, LayerNorm { eps })
    } else {
        composite::layer_norm(x, weight, bias, eps)
    }
}

/// Softmax over the last axis of `scores + penalty`, `scores` of `[batch, heads, queries,
/// keys]` and `penalty` of `[batch, keys]`, which gets no gradient.
pub(crate) fn masked_softmax(scores: &Tensor, penalty: &Tensor) -> Result<Tensor> {
    if scores.device().is_cpu() {
        scores.contiguous()?.apply_op2(&penalty.detach().contiguous()?, MaskedSoftmax)
    } else {
        composite::masked_softmax(scores, penalty)
    }
}

/// The sum of squared differences, a scalar, of hidden states `[batch, tokens, width]` over
/// the real tokens or of attention scores `[batch, heads, tokens, tokens]` over the pairs of
/// real tokens. `mask`, 0 or 1, is `[batch, tokens]` and gets no gradient.
pub(crate) fn masked_squared_error(a: &Tensor, b: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        candle_core::bail!("shapes {:?} and {:?} cannot be compared", a.dims(), b.dims());
    }
    if a.device().is_cpu() {
        let mask = mask.detach().contiguous()?;
        a.contiguous()?.apply_op3(&b.contiguous()?, &mask, MaskedSquaredError)
    } else {
        composite::masked_squared_error(a, b, mask)
    }
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

/// Sum over all rows of a `[rows, width]` gradient.
fn sum_rows(grad: &Tensor) -> Result<Tensor> {
    grad.sum(0)
}

struct AddBias {
    scale: f64,
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output =
            kernel::add_bias(values(x, x_layout)?, values(bias, bias_layout)?, self.scale as f32);
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _bias: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = (grad * self.scale)?;
        Ok((Some(grad.clone()), Some(sum_rows(&grad)?)))
    }
}

struct BiasGelu;

impl CustomOp2 for BiasGelu {
    fn name(&self) -> &'static str {
        "bias-gelu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output = kernel::bias_gelu(values(x, x_layout)?, values(bias, bias_layout)?);
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        // d/du u Φ(u) = Φ(u) + u φ(u)
        let u = x.broadcast_add(bias)?;
        let distribution = (((&u * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
        let density = ((u.sqr()? * -0.5)?.exp()? * (1.0 / (2.0 * std::f64::consts::PI).sqrt()))?;
        let grad = (grad * (distribution + (u * density)?)?)?;
        let bias_grad = sum_rows(&grad)?;
        Ok((Some(grad), Some(bias_grad)))
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
        x: &Tensor,
        _y: &Tensor,
        z: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (rows, width) = x.dims2()?;
        let period = z.dim(0)?;
        let repeated = grad.reshape((rows / period, period, width))?.sum(0)?;
        Ok((Some(grad.clone()), Some(grad.clone()), Some(repeated.reshape(z.shape())?)))
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
        let output = kernel::layer_norm(
            values(x, x_layout)?,
            values(weight, weight_layout)?,
            values(bias, bias_layout)?,
            self.eps as f32,
        );
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (normal, deviation) = composite::normalise(x, self.eps)?;
        let last = candle_core::D::Minus1;
        let inner = grad.broadcast_mul(weight)?;
        let mean = inner.mean_keepdim(last)?;
        let along = (&inner * &normal)?.mean_keepdim(last)?;
        let x_grad = inner
            .broadcast_sub(&mean)?
            .sub(&normal.broadcast_mul(&along)?)?
            .broadcast_div(&deviation)?;
        let weight_grad = sum_rows(&(grad * normal)?)?;
        Ok((Some(x_grad), Some(weight_grad), Some(sum_rows(grad)?)))
    }
}

struct MaskedSoftmax;

impl CustomOp2 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        scores_layout: &Layout,
        penalty: &CpuStorage,
        penalty_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, heads, queries, keys) = scores_layout.shape().dims4()?;
        let output = kernel::masked_softmax(
            values(scores, scores_layout)?,
            values(penalty, penalty_layout)?,
            heads * queries,
            keys,
        );
        Ok((CpuStorage::F32(output), scores_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _scores: &Tensor,
        _penalty: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let weighted = (grad * result)?;
        let sum = weighted.sum_keepdim(candle_core::D::Minus1)?;
        Ok((Some((weighted - result.broadcast_mul(&sum)?)?), None))
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
        let difference = composite::masked_difference(a, b, mask)?;
        let a_grad = difference.broadcast_mul(&(grad * 2.0)?)?;
        let b_grad = a_grad.neg()?;
        Ok((Some(a_grad), Some(b_grad), None))
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

    /// Value and gradients of a fused form are those of its composite form.
    pub(super) fn assert_alike(
        variables: &[&Var],
        fused: impl Fn() -> Result<Tensor>,
        composite: impl Fn() -> Result<Tensor>,
    ) {
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
        for (number, variable) in variables.iter().enumerate() {
            let gradient = |store: &candle_core::backprop::GradStore| {
                store.get(variable.as_tensor()).expect("has a gradient").clone()
            };
            close(&format!("gradient {number}"), &gradient(&fused), &gradient(&composite));
        }
    }

    fn close(what: &str, a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims(), "{what}");
        let list = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
        for (a, b) in list(a).into_iter().zip(list(b)) {
            assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{what}: {a} for {b}");
        }
    }

    #[test]
    fn add_bias_is_its_composite() {
        let (x, bias) = (variable(1, &[5, 7]), variable(2, &[7]));
        assert_alike(
            &[&x, &bias],
            || add_bias(&x, &bias, 0.3),
            || composite::add_bias(&x, &bias, 0.3),
        );
    }

    #[test]
    fn bias_gelu_is_its_composite() {
        let (x, bias) = (variable(3, &[40, 33]), variable(4, &[33]));
        assert_alike(&[&x, &bias], || bias_gelu(&x, &bias), || composite::bias_gelu(&x, &bias));
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
    fn masked_softmax_is_its_composite() {
        let scores = variable(11, &[2, 3, 4, 5]);
        let penalty = Tensor::new(
            &[[0f32, 0.0, 0.0, 0.0, -10_000.0], [0.0, 0.0, -10_000.0, -10_000.0, -10_000.0]],
            &Device::Cpu,
        )
        .expect("a tensor");
        assert_alike(
            &[&scores],
            || masked_softmax(&scores, &penalty),
            || composite::masked_softmax(&scores, &penalty),
        );
        let probabilities = masked_softmax(&scores, &penalty).expect("runs");
        let masked = probabilities.narrow(3, 4, 1).and_then(|t| t.sum_all()?.to_scalar::<f32>());
        assert!(masked.expect("a sum") < 1e-30);
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
