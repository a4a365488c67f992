//! Rows of a table: embeddings, and the tokens that a head looks at.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::engine::{Engine, Form};
use super::gradient::Gradient;
use super::loops::by_row;
use super::operands::{last_axis, slice, values, with_values};
use super::share::{Share, View};

impl Engine {
    /// The beginnings, `length` long, of the rows `ids` (i64) of a table.
    pub(crate) fn lookup(&self, table: &Share, ids: &Tensor, length: usize) -> Result<Tensor> {
        match table {
            Share::InPlace(table) => fused(&table.whole, ids, length, table.gradient.as_ref()),
            Share::View(View { whole, used, .. }) => {
                if let Some(used) = used {
                    used.rows(whole, ids)?;
                }
                composite(whole, ids, length)
            }
        }
    }

    /// The rows `ids` (i64) of a matrix.
    pub(crate) fn rows(&self, matrix: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let length = matrix.dim(1)?;
        match self.form {
            Form::Fused => fused(matrix, ids, length, None),
            Form::Composite => composite(matrix, ids, length),
        }
    }
}

fn composite(table: &Tensor, ids: &Tensor, length: usize) -> Result<Tensor> {
    table.index_select(ids, 0)?.narrow(1, 0, length)
}

/// The beginnings, `length` long, of the rows `ids` (i64) of a table.
///
/// In the backward pass the rows' gradients are added to `gradient`; without one they are
/// returned to candle as a dense gradient of the table.
fn fused(
    table: &Tensor,
    ids: &Tensor,
    length: usize,
    gradient: Option<&Arc<Gradient>>,
) -> Result<Tensor> {
    let lookup = Lookup { length, gradient: gradient.cloned() };
    table.contiguous()?.apply_op2(&ids.contiguous()?, lookup)
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
        let ids = slice::<i64>(ids, ids_layout)?;
        let rows = table.len() / width.max(1);
        if let Some(id) = ids.iter().find(|id| !(0..rows as i64).contains(id)) {
            candle_core::bail!("row {id} of a table of {rows} rows");
        }
        let output = by_row(ids.len() * self.length, self.length, |i, output| {
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
        with_values(grad, |grad| gradient.add_rows(width, &ids, self.length, grad))?;
        Ok((None, None))
    }
}
