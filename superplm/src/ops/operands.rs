//! Reading candle's operands as slices, and making tensors of the results.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, WithDType};

/// The values of a contiguous operand.
pub(super) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::msg("a fused operation needs contiguous operands"))?;
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// The f32 values of a contiguous operand.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    slice(storage, layout)
}

/// Calls `read` with the f32 values of a tensor on the CPU, row by row.
pub(super) fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(read(values(storage, layout)?)),
        _ => candle_core::bail!("a fused operation needs operands on the CPU"),
    }
}

pub(super) fn last_axis(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}

/// A tensor of the shape of `like`.
pub(super) fn shaped(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}
