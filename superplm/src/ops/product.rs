//! Matrix products: linear layers and attention, forward and backward.
//!
//! candle takes the gradient of `x W^T` in the transposed shape and turns it with a strided
//! pass over memory, and multiplies a batch of small matrices one after the other. Here
//! every product writes its result where it belongs, and batches run in parallel.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::{kernel, values, with_values};

/// `(x W^T + b) * scale` for `x` of `[rows, inputs]`, `weight` of `[outputs, inputs]` and
/// `bias` of `[outputs]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, scale: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        // A sub-model's weights are a view of the whole rows' beginnings, taken as it is.
        let weight =
            if weight.stride().last() == Some(&1) { weight } else { &weight.contiguous()? };
        x.contiguous()?.apply_op3(weight, &bias.contiguous()?, LinearOp { scale })
    } else {
        super::composite::linear(x, weight, bias, scale)
    }
}

/// The products of two batches of matrices, `[.., m, k]` and `[.., k, n]`.
pub(crate) fn batched_product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() {
        a.contiguous()?.apply_op2(&b.contiguous()?, BatchedProduct)
    } else {
        a.matmul(b)
    }
}

/// A row-major matrix within a slice, or its transpose.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Distance of one row to the next, before it is transposed.
    stride: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// The `i`-th of a batch of matrices.
    fn nth(values: &'a [f32], i: usize, rows: usize, columns: usize) -> Self {
        let size = rows * columns;
        Self::new(&values[i * size..(i + 1) * size], rows, columns)
    }

    fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let length = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        assert_eq!(values.len(), length, "a matrix of {rows} x {columns}, {stride} apart");
        assert!(columns <= stride || rows < 2, "rows of {columns} cannot be {stride} apart");
        Self { values, rows, columns, stride, transposed: false }
    }

    /// A matrix the rows of which may be those of a wider one.
    fn of(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (rows, columns) = layout.shape().dims2()?;
        let (&[stride, 1], start) = (layout.stride(), layout.start_offset()) else {
            candle_core::bail!("a product needs rows without gaps between their values");
        };
        let length = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        let values = &storage.as_slice::<f32>()?[start..start + length];
        Ok(Self::strided(values, rows, columns, stride))
    }

    fn transposed(self) -> Self {
        let Self { rows, columns, .. } = self;
        Self { rows: columns, columns: rows, transposed: !self.transposed, ..self }
    }

    /// `count` rows from the `first` on.
    fn rows(self, first: usize, count: usize) -> Self {
        // Where the rows lie, and how far their last value is from their first.
        let (step, length) = if self.transposed {
            (1, (self.columns - 1) * self.stride + count)
        } else {
            (self.stride, (count - 1) * self.stride + self.columns)
        };
        Self { values: &self.values[first * step..first * step + length], rows: count, ..self }
    }

    /// Strides along columns and rows.
    fn strides(&self) -> (isize, isize) {
        let stride = self.stride as isize;
        if self.transposed { (stride, 1) } else { (1, stride) }
    }
}

/// `output = scale * a b`, or with `keep` `output += scale * a b`; `output` is row-major.
fn multiply(
    output: &mut [f32],
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    keep: bool,
    parallelism: Parallelism,
) {
    assert_eq!(a.columns, b.rows, "matrices that cannot be multiplied");
    assert_eq!(output.len(), a.rows * b.columns, "the size of a product");
    let ((a_columns, a_rows), (b_columns, b_rows)) = (a.strides(), b.strides());
    // SAFETY: each slice ends with the last value of its matrix, which `Matrix::strided`
    // checks, so every access is inside; `output` is dense and borrowed uniquely.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            output.as_mut_ptr(),
            1,
            b.columns as isize,
            keep,
            a.values.as_ptr(),
            a_columns,
            a_rows,
            b.values.as_ptr(),
            b_columns,
            b_rows,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// [`multiply`] with all threads.
///
/// By blocks of rows, which threads take as they are free: gemm's own threads wait for each
/// other by spinning, and lose half of their speed if anything else runs on a core.
fn multiply_in_parallel(output: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, scale: f32, keep: bool) {
    const BLOCK: usize = 128;
    if a.rows < 2 * BLOCK || a.columns == 0 || b.columns == 0 {
        let parallelism = match rayon::current_num_threads() {
            1 => Parallelism::None,
            threads => Parallelism::Rayon(threads),
        };
        return multiply(output, a, b, scale, keep, parallelism);
    }
    output.par_chunks_mut(BLOCK * b.columns).enumerate().for_each(|(i, output)| {
        let a = a.rows(i * BLOCK, output.len() / b.columns);
        multiply(output, a, b, scale, keep, Parallelism::None);
    });
}

struct LinearOp {
    scale: f64,
}

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
        let weight = Matrix::of(weight, weight_layout)?;
        let outputs = weight.rows;
        let bias = values(bias, bias_layout)?;
        let scale = self.scale as f32;
        let mut output = kernel::by_row(rows * outputs, outputs, |_, output| {
            for (output, bias) in output.iter_mut().zip(bias) {
                *output = bias * scale;
            }
        });
        let x = Matrix::new(values(x, x_layout)?, rows, inputs);
        multiply_in_parallel(&mut output, x, weight.transposed(), scale, true);
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
        let scale = self.scale as f32;
        let (mut x_grad, mut weight_grad) = (vec![0.0; rows * inputs], vec![0.0; outputs * inputs]);
        let bias_grad = with_values(grad, |grad| {
            let matrix = Matrix::new(grad, rows, outputs);
            with_values(weight, |weight| {
                let weight = Matrix::new(weight, outputs, inputs);
                multiply_in_parallel(&mut x_grad, matrix, weight, scale, false);
            })?;
            with_values(x, |x| {
                let x = Matrix::new(x, rows, inputs);
                multiply_in_parallel(&mut weight_grad, matrix.transposed(), x, scale, false);
            })?;
            Ok::<_, candle_core::Error>(kernel::column_sums(grad, outputs, scale))
        })??;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((
            Some(tensor(x_grad, x)?),
            Some(tensor(weight_grad, weight)?),
            Some(tensor(bias_grad, bias)?),
        ))
    }
}

struct BatchedProduct;

/// Batch size, then `m`, `k` and `n` of a batch of products.
fn sizes(a: &[usize], b: &[usize]) -> Result<[usize; 4]> {
    match (a, b) {
        ([batch_a @ .., m, k], [batch_b @ .., rows, n]) if batch_a == batch_b && k == rows => {
            Ok([batch_a.iter().product(), *m, *k, *n])
        }
        _ => candle_core::bail!("matrices of {a:?} and {b:?} cannot be multiplied"),
    }
}

/// `output_i = a_i b_i` for each matrix of a batch.
fn multiply_each<'a, 'b>(
    matrices: usize,
    size: usize,
    a: impl Fn(usize) -> Matrix<'a> + Sync,
    b: impl Fn(usize) -> Matrix<'b> + Sync,
) -> Vec<f32> {
    let mut output = vec![0.0; matrices * size];
    output.par_chunks_exact_mut(size.max(1)).enumerate().for_each(|(i, output)| {
        multiply(output, a(i), b(i), 1.0, false, Parallelism::None);
    });
    output
}

impl CustomOp2 for BatchedProduct {
    fn name(&self) -> &'static str {
        "batched-product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let [batch, m, k, n] = sizes(a_layout.dims(), b_layout.dims())?;
        let (a, b) = (values(a, a_layout)?, values(b, b_layout)?);
        let output =
            multiply_each(batch, m * n, |i| Matrix::nth(a, i, m, k), |i| Matrix::nth(b, i, k, n));
        let mut dims = a_layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = n;
        }
        Ok((CpuStorage::F32(output), Shape::from(dims)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [batch, m, k, n] = sizes(a.dims(), b.dims())?;
        let (a_grad, b_grad) = with_values(grad, |grad| {
            let grad = |i| Matrix::nth(grad, i, m, n);
            let a_grad = with_values(b, |b| {
                multiply_each(batch, m * k, grad, |i| Matrix::nth(b, i, k, n).transposed())
            })?;
            let b_grad = with_values(a, |a| {
                multiply_each(batch, k * n, |i| Matrix::nth(a, i, m, k).transposed(), grad)
            })?;
            Ok::<_, candle_core::Error>((a_grad, b_grad))
        })??;
        Ok((
            Some(Tensor::from_vec(a_grad, a.shape(), a.device())?),
            Some(Tensor::from_vec(b_grad, b.shape(), b.device())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::composite;
    use super::super::tests::{assert_alike, assert_same, variable};
    use super::*;

    #[test]
    fn linear_is_its_composite() {
        let (x, weight, bias) = (variable(21, &[9, 7]), variable(22, &[5, 7]), variable(23, &[5]));
        assert_alike(
            &[&x, &weight, &bias],
            || linear(&x, &weight, &bias, 0.3),
            || composite::linear(&x, &weight, &bias, 0.3),
        );
        // Also in blocks of rows, forward and backward.
        let (x, weight) = (variable(27, &[300, 7]), variable(28, &[270, 7]));
        let bias = variable(29, &[270]);
        let (fused, composite) =
            (|| linear(&x, &weight, &bias, 1.0), || composite::linear(&x, &weight, &bias, 1.0));
        assert_same(&[&x, &weight, &bias], fused, composite);
        // And of a part of wider weights.
        let (x, bias) = (variable(21, &[9, 7]), variable(23, &[5]));
        let wide = variable(26, &[6, 9]);
        let part = || wide.narrow(0, 0, 5)?.narrow(1, 0, 7);
        assert_alike(
            &[&x, &wide, &bias],
            || linear(&x, &part()?, &bias, 1.0),
            || composite::linear(&x, &part()?, &bias, 1.0),
        );
    }

    #[test]
    fn batched_product_is_its_composite() {
        let (a, b) = (variable(24, &[2, 3, 4, 5]), variable(25, &[2, 3, 5, 6]));
        assert_alike(&[&a, &b], || batched_product(&a, &b), || a.matmul(&b));
        assert!(batched_product(&a, &a).is_err());
    }
}
