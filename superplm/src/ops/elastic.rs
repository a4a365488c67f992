//! The operations that take a sub-model's part out of a whole parameter and add the part's
//! gradient to the whole one's.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::gradient::{Gradient, Part};
use super::used::Used;
use super::{last_axis, values};

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
    pub(super) fn tensor(&self) -> Result<Tensor> {
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

/// The beginnings, `length` long, of the rows `ids` (i64) of a table.
///
/// In the backward pass the rows' gradients are added to `gradient`; without one they are
/// returned to candle as a dense gradient of the table.
pub(super) fn lookup(
    table: &Tensor,
    ids: &Tensor,
    length: usize,
    gradient: Option<&Arc<Gradient>>,
) -> Result<Tensor> {
    let lookup = Lookup { length, gradient: gradient.cloned() };
    table.contiguous()?.apply_op2(&ids.contiguous()?, lookup)
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
            super::with_values(grad, |grad| gradient.add_part(&self.0.part, grad))?;
        }
        Ok(None)
    }
}

struct Lookup {
    length: usize,
    gradient: Option<Arc<Gradient>>,
}

impl CustomOp2 for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn cpu_fwd(
        &self,
        table: &CpuStorage,
        table_layout: &Layout,
        ids: &CpuStorage,
        ids_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = last_axis(table_layout);
        let table = values(table, table_layout)?;
        let ids = super::slice::<i64>(ids, ids_layout)?;
        let rows = table.len() / width.max(1);
        if let Some(id) = ids.iter().find(|id| !(0..rows as i64).contains(id)) {
            candle_core::bail!("row {id} of a table of {rows} rows");
        }
        let output = super::kernel::by_row(ids.len() * self.length, self.length, |i, output| {
            let start = ids[i] as usize * width;
            output.copy_from_slice(&table[start..start + self.length]);
        });
        Ok((CpuStorage::F32(output), Shape::from((ids.len(), self.length))))
    }

    fn bwd(
        &self,
        table: &Tensor,
        ids: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, width) = table.dims2()?;
        let Some(gradient) = &self.gradient else {
            let rows = grad.pad_with_zeros(1, 0, width - self.length)?;
            return Ok((Some(table.zeros_like()?.index_add(ids, &rows, 0)?), None));
        };
        let ids: Vec<i64> = ids.to_vec1()?;
        super::with_values(grad, |grad| gradient.add_rows(width, &ids, self.length, grad))?;
        Ok((None, None))
    }
}
