//! The parameters of a BERT as tensors, and which architectures they contain.

use atb_space::Architecture;
use candle_core::Tensor;

use crate::PlmError;

pub(crate) type Linear<T = Tensor> = atb_checkpoint::Linear<T>;
pub(crate) type Norm<T = Tensor> = atb_checkpoint::Norm<T>;
pub(crate) type LayerParameters<T = Tensor> = atb_checkpoint::LayerParameters<T>;
pub(crate) type Parameters<T = Tensor> = atb_checkpoint::Parameters<T>;
pub(crate) type MlmHead<T = Tensor> = atb_checkpoint::MlmHead<T>;

/// Checks that every size of `arch` is at most the one of `whole`.
///
/// # Errors
/// [`PlmError::DoesNotFit`] naming the first size that is not.
pub(crate) fn check_fit(whole: &Architecture, arch: &Architecture) -> Result<(), PlmError> {
    let fit = |what: &str, layer: Option<usize>, wanted: usize, available: usize| {
        if wanted <= available {
            return Ok(());
        }
        let what = match layer {
            Some(layer) => format!("{what} of layer {layer}"),
            None => what.to_owned(),
        };
        Err(PlmError::DoesNotFit { arch: arch.id(), whole: whole.id(), what, wanted, available })
    };
    fit("the number of layers", None, arch.num_layers(), whole.num_layers())?;
    fit("the hidden size", None, arch.hidden(), whole.hidden())?;
    for (i, (sub, full)) in arch.layers().iter().zip(whole.layers()).enumerate() {
        fit("the intermediate size", Some(i), sub.intermediate, full.intermediate)?;
        fit("the number of attention heads", Some(i), sub.heads, full.heads)?;
        fit("the head size (q|k|v size / heads)", Some(i), sub.head_size(), full.head_size())?;
    }
    Ok(())
}
