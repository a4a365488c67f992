//! A sub-model's part of a whole parameter: taken out of it, and its gradient added to the
//! whole one's.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::gradient::{Gradient, Part};
use super::operands::{values, with_values};
use super::used::Used;

/// What a sub-model takes of a whole parameter.
#[derive(Clone, Debug)]
pub(crate) enum Share {
    /// For fused operations.
    InPlace(InPlace),
    /// For composite ones.
    View(View),
}

/// A view of a whole parameter: the part's gradient goes through it to the whole one's, which
/// candle returns.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The whole parameter.
    pub(crate) whole: Tensor,
    /// The part of it.
    pub(crate) part: Tensor,
    /// Where the use is noted, if the parameter is trained.
    pub(crate) used: Option<Arc<Used>>,
}

/// A part of a whole parameter that is read where it lies.
#[derive(Clone, Debug)]
pub(crate) struct InPlace {
    /// The whole parameter.
    pub(crate) whole: Tensor,
    /// Which part of it.
    pub(crate) part: Part,
    /// The part's shape.
    pub(crate) shape: Vec<usize>,
    /// Where the part's gradient is added; without one it is not computed.
    pub(crate) gradient: Option<Arc<Gradient>>,
}

impl Share {
    /// The part that a fused operation reads.
    pub(super) fn in_place(&self) -> Result<InPlace> {
        match self {
            Self::InPlace(share) => Ok(share.clone()),
            Self::View(_) => candle_core::bail!("a fused operation takes no views of parameters"),
        }
    }

    /// The part as a tensor; all of the parameter counts as used.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::InPlace(share) => share.tensor(),
            Self::View(View { part, used, .. }) => {
                if let Some(used) = used {
                    used.as_a_whole();
                }
                Ok(part.clone())
            }
        }
    }
}

impl InPlace {
    /// The part as a tensor. In the backward pass its gradient is added where the share
    /// says, and the whole parameter gets none from candle.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        self.whole.apply_op1(TakePart(self.clone()))
    }
}

struct TakePart(InPlace);

impl CustomOp1 for TakePart {
    fn name(&self) -> &'static str {
        "take-part"
    }

    fn cpu_fwd(&self, whole: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let part = self.0.part.gather(values(whole, layout)?);
        Ok((CpuStorage::F32(part), Shape::from(self.0.shape.as_slice())))
    }

    fn bwd(&self, _whole: &Tensor, _part: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if let Some(gradient) = &self.0.gradient {
            with_values(grad, |grad| gradient.add_part(&self.0.part, grad))?;
        }
        Ok(None)
    }
}
