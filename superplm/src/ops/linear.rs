//! A linear layer as an operation of its own: the heads and projections.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::engine::{Engine, Form};
use super::loops::column_sums;
use super::operands::{shaped, values, with_values};
use super::product::{self, Matrix, MatrixMut, Mode, multiply_in_parallel};

impl Engine {
    /// `x W^T + b` for `x` of `[rows, inputs]`, `weight` of `[outputs, inputs]` and `bias` of
    /// `[outputs]`.
    pub(crate) fn linear(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => fused(x, weight, bias),
            Form::Composite => composite(x, weight, bias),
        }
    }
}

pub(super) fn composite(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.contiguous()?.matmul(&weight.contiguous()?.t()?)?.broadcast_add(bias)
}

fn fused(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    // A sub-model's weights are a view of the whole rows' beginnings, taken as it is.
    let weight = if weight.stride().last() == Some(&1) { weight } else { &weight.contiguous()? };
    x.contiguous()?.apply_op3(weight, &bias.contiguous()?, LinearOp)
}

struct LinearOp;

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        "linear"
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
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, columns) = weight_layout.shape().dims2()?;
        let &[stride, 1] = weight_layout.stride() else {
            candle_core::bail!("a product needs rows without gaps between their values");
        };
        if columns != inputs {
            candle_core::bail!("weights of {columns} inputs for values of {inputs}");
        }
        let weight = &weight.as_slice::<f32>()?[weight_layout.start_offset()..];
        let weight = Matrix::strided(weight, outputs, inputs, stride);
        let x = Matrix::new(values(x, x_layout)?, rows, inputs);
        let mut output = vec![0.0; rows * outputs];
        product::linear(&mut output, x, weight, values(bias, bias_layout)?, 1.0, None);
        Ok((CpuStorage::F32(output), Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((rows, inputs), outputs) = (x.dims2()?, bias.dims1()?);
        let (mut x_grad, mut weight_grad) = (vec![0.0; rows * inputs], vec![0.0; outputs * inputs]);
        let bias_grad = with_values(grad, |grad| {
            let matrix = Matrix::new(grad, rows, outputs);
            with_values(weight, |weight| {
                let weight = Matrix::new(weight, outputs, inputs);
                let x_grad = MatrixMut::new(&mut x_grad, rows, inputs);
                multiply_in_parallel(x_grad, matrix, weight, 1.0, Mode::Overwrite);
            })?;
            with_values(x, |x| {
                let x = Matrix::new(x, rows, inputs);
                let weight_grad = MatrixMut::new(&mut weight_grad, outputs, inputs);
                multiply_in_parallel(weight_grad, matrix.transposed(), x, 1.0, Mode::Overwrite);
            })?;
            Ok::<_, candle_core::Error>(column_sums(grad, outputs))
        })??;
        Ok((
            Some(shaped(x_grad, x)?),
            Some(shaped(weight_grad, weight)?),
            Some(shaped(bias_grad, bias)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_alike, assert_same, variable};
    use super::*;

    #[test]
    fn linear_is_its_composite() {
        let (x, weight, bias) = (variable(21, &[9, 7]), variable(22, &[5, 7]), variable(23, &[5]));
        assert_alike(
            &[&x, &weight, &bias],
            || fused(&x, &weight, &bias),
            || composite(&x, &weight, &bias),
        );
        // Also in blocks of rows, forward and backward.
        let (x, weight) = (variable(27, &[300, 7]), variable(28, &[270, 7]));
        let bias = variable(29, &[270]);
        let (by_fused, by_composite) =
            (|| fused(&x, &weight, &bias), || composite(&x, &weight, &bias));
        assert_same(&[&x, &weight, &bias], by_fused, by_composite);
        // And of a part of wider weights.
        let (x, bias) = (variable(21, &[9, 7]), variable(23, &[5]));
        let wide = variable(26, &[6, 9]);
        let part = || wide.narrow(0, 0, 5)?.narrow(1, 0, 7);
        assert_alike(
            &[&x, &wide, &bias],
            || fused(&x, &part()?, &bias),
            || composite(&x, &part()?, &bias),
        );
        assert!(fused(&x, &wide, &bias).is_err());
    }
}
