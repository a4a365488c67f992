//! Where the operations run and in which form: the one place where that is decided.

use std::sync::Arc;

use atb_checkpoint::Axis;
use atb_space::Architecture;
use candle_core::{Device, Result, Tensor};

use super::cut;
use super::gradient::Gradient;
use super::scratch::Scratch;
use super::share::{Share, View};
use super::used::Used;

/// The form of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
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
    pub(super) form: Form,
    pub(super) scratch: Scratch,
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
}

/// What `arch` uses of a whole parameter, for the fused operations.
pub(crate) fn share_in_place(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
    gradient: Option<Arc<Gradient>>,
) -> Share {
    Share::InPlace(cut::share(tensor, axes, whole, arch, gradient))
}

/// What `arch` uses of a whole parameter, for the composite operations.
pub(crate) fn share_of_view(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
    used: Option<Arc<Used>>,
) -> Result<Share> {
    let part = cut::slice(tensor, axes, whole, arch)?;
    Ok(Share::View(View { whole: tensor.clone(), part, used }))
}
