//! Where the operations run and in which form: the one place where that is decided.

use std::sync::Arc;

use atb_space::Architecture;
use candle_core::{Device, Result, Tensor};

use super::elastic::{Share, View};
use super::layer::LayerShape;
use super::scratch::Scratch;
use super::used::Used;
use super::{Gradient, composite};
use crate::parameters::{self, LayerParameters};
use atb_checkpoint::Axis;

/// The form of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// This crate's own, on the CPU.
    Fused,
    /// candle's, on any device.
    Composite,
}

/// A device and the form of the operations on it.
///
/// Parameters, batches and what is made of them all lie on the engine's device.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    device: Device,
    form: Form,
    scratch: Scratch,
}

impl Engine {
    /// The fused operations, on the CPU.
    pub(crate) fn cpu() -> Self {
        Self { device: Device::Cpu, form: Form::Fused, scratch: Scratch::default() }
    }

    /// The composite operations, on any device.
    pub(crate) fn composite(device: Device) -> Self {
        Self { device, form: Form::Composite, scratch: Scratch::default() }
    }

    /// The form that suits a device.
    pub(crate) fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::cpu() } else { Self::composite(device.clone()) }
    }

    /// Where tensors have to be.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Whether parameters are read, and their gradients summed, where they lie, in the memory
    /// of the host.
    pub(crate) fn is_fused(&self) -> bool {
        self.form == Form::Fused
    }

    /// What `arch` uses of a whole parameter that is not trained.
    pub(crate) fn share(
        &self,
        tensor: &Tensor,
        axes: &[Axis],
        whole: &Architecture,
        arch: &Architecture,
    ) -> Result<Share> {
        match self.form {
            Form::Fused => Ok(share_in_place(tensor, axes, whole, arch, None)),
            Form::Composite => share_of_view(tensor, axes, whole, arch, None),
        }
    }

    /// A share as a tensor.
    pub(crate) fn take(&self, share: &Share) -> Result<Tensor> {
        share.tensor()
    }

    /// The exact (Erf) GELU.
    pub(crate) fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => super::gelu(x),
            Form::Composite => x.gelu_erf(),
        }
    }

    /// `x + y + z` for `x` and `y` of `[rows, width]`; `z` of `[period, width]` is repeated.
    pub(crate) fn add3(&self, x: &Tensor, y: &Tensor, z: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => super::add3(x, y, z),
            Form::Composite => composite::add3(x, y, z),
        }
    }

    /// LayerNorm over the last axis.
    pub(crate) fn layer_norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<Tensor> {
        match self.form {
            Form::Fused => super::layer_norm(x, weight, bias, eps),
            Form::Composite => composite::layer_norm(x, weight, bias, eps),
        }
    }

    /// `x W^T + b` for `x` of `[rows, inputs]`, `weight` of `[outputs, inputs]` and `bias` of
    /// `[outputs]`.
    pub(crate) fn linear(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => super::linear::linear(x, weight, bias),
            Form::Composite => composite::linear(x, weight, bias),
        }
    }

    /// The beginnings, `length` long, of the rows `ids` (i64) of a table.
    pub(crate) fn lookup(&self, table: &Share, ids: &Tensor, length: usize) -> Result<Tensor> {
        match table {
            Share::InPlace(table) => {
                super::elastic::lookup(&table.whole, ids, length, table.gradient.as_ref())
            }
            Share::View(View { whole, used, .. }) => {
                if let Some(used) = used {
                    used.rows(whole, ids)?;
                }
                composite::lookup(whole, ids, length)
            }
        }
    }

    /// The rows `ids` (i64) of a matrix.
    pub(crate) fn rows(&self, matrix: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let length = matrix.dim(1)?;
        match self.form {
            Form::Fused => super::elastic::lookup(matrix, ids, length, None),
            Form::Composite => composite::lookup(matrix, ids, length),
        }
    }

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
            Form::Fused => super::masked_squared_error(a, b, mask),
            Form::Composite => composite::masked_squared_error(a, b, &mask.detach()),
        }
    }

    /// The sum over the rows of `-log softmax(logits)[label]`, a scalar: `logits` is `[rows,
    /// classes]`, `labels` (i64) `[rows]`.
    pub(crate) fn cross_entropy(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => super::cross_entropy::cross_entropy(logits, labels),
            Form::Composite => composite::cross_entropy(logits, labels),
        }
    }

    /// Hidden states after a layer, `[rows * sequence, hidden]`, and, if they are asked for,
    /// its attention scores before mask and softmax, `[rows, heads, sequence, sequence]`.
    ///
    /// `x` is `[rows * sequence, hidden]`, `penalty`, added to the scores of each key,
    /// `[rows, sequence]`.
    pub(crate) fn layer(
        &self,
        x: &Tensor,
        parameters: &LayerParameters<Share>,
        shape: LayerShape,
        penalty: &Tensor,
        with_scores: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        match self.form {
            Form::Fused => {
                let parameters = parameters.try_map(Share::in_place)?;
                super::layer::layer(x, parameters, shape, penalty, with_scores, &self.scratch)
            }
            Form::Composite => {
                let parameters = parameters.try_map(Share::tensor)?;
                let (hidden, scores) = composite::layer(x, &parameters, &shape, penalty)?;
                Ok((hidden, with_scores.then_some(scores)))
            }
        }
    }
}

/// What `arch` uses of a whole parameter, for the fused operations.
pub(crate) fn share_in_place(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
    gradient: Option<Arc<Gradient>>,
) -> Share {
    Share::InPlace(parameters::share(tensor, axes, whole, arch, gradient))
}

/// What `arch` uses of a whole parameter, for the composite operations.
pub(crate) fn share_of_view(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
    used: Option<Arc<Used>>,
) -> Result<Share> {
    let part = parameters::slice(tensor, axes, whole, arch)?;
    Ok(Share::View(View { whole: tensor.clone(), part, used }))
}
