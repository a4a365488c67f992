//! The sum of three tensors, one of which repeats.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::engine::{Engine, Form};
use super::loops::{by_row, column_sums};
use super::operands::{last_axis, shaped, values, with_values};

impl Engine {
    /// `x + y + z` for `x` and `y` of `[rows, width]`; `z` of `[period, width]` is repeated.
    pub(crate) fn add3(&self, x: &Tensor, y: &Tensor, z: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => fused(x, y, z),
            Form::Composite => composite(x, y, z),
        }
    }
}

fn composite(x: &Tensor, y: &Tensor, z: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let period = z.dim(0)?;
    (x + y)?.reshape((rows / period, period, width))?.broadcast_add(z)?.reshape((rows, width))
}

fn fused(x: &Tensor, y: &Tensor, z: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&y.contiguous()?, &z.contiguous()?, Add3)
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
        let output = kernel(
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
        let repeated = with_values(grad, |grad| column_sums(grad, length))?;
        Ok((Some(grad.clone()), Some(grad.clone()), Some(shaped(repeated, z)?)))
    }
}

fn kernel(x: &[f32], y: &[f32], z: &[f32], width: usize) -> Vec<f32> {
    let period = (z.len() / width.max(1)).max(1);
    by_row(x.len(), width, |i, output| {
        let (x, y, z) = (&x[i * width..], &y[i * width..], &z[i % period * width..]);
        for (((output, x), y), z) in output.iter_mut().zip(x).zip(y).zip(z) {
            *output = x + y + z;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_alike, variable};
    use super::*;

    #[test]
    fn add3_is_its_composite() {
        for period in [1, 3, 6] {
            let (x, y) = (variable(5, &[6, 4]), variable(6, &[6, 4]));
            let z = variable(7, &[period, 4]);
            assert_alike(&[&x, &y, &z], || fused(&x, &y, &z), || composite(&x, &y, &z));
        }
    }
}
