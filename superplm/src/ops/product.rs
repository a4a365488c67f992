//! Matrix products over slices, all threads at once or within one.
//!
//! Operands may be parts of wider matrices and results are added where they belong, so that
//! a sub-model's weights and their gradients are used where the whole ones lie.

use gemm::Parallelism;
use rayon::prelude::*;

use super::loops::add_to;

/// A row-major matrix within a slice, or its transpose.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Distance of one row to the next, before it is transposed.
    stride: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// The beginning of `values`, whose rows begin `stride` apart.
    pub(super) fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let values = &values[..extent(rows, columns, stride)];
        Self { values, rows, columns, stride, transposed: false }
    }

    pub(super) fn transposed(self) -> Self {
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

/// Values from the first of a matrix to its last.
fn extent(rows: usize, columns: usize, stride: usize) -> usize {
    assert!(columns <= stride || rows < 2, "rows of {columns} cannot be {stride} apart");
    if rows == 0 { 0 } else { (rows - 1) * stride + columns }
}

/// A row-major matrix to write to, the rows of which may be those of a wider one.
pub(super) struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> MatrixMut<'a> {
    pub(super) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// The beginning of `values`, whose rows begin `stride` apart.
    pub(super) fn strided(
        values: &'a mut [f32],
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Self {
        let values = &mut values[..extent(rows, columns, stride)];
        Self { values, rows, columns, stride }
    }
}

/// What becomes of the values that the result's place had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are overwritten.
    Overwrite,
    /// The product is added to them.
    Add,
}

/// `output = scale * a b`, or with [`Mode::Add`] `output += scale * a b`, on this thread.
pub(super) fn multiply(
    output: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    mode: Mode,
) {
    assert_eq!(a.columns, b.rows, "matrices that cannot be multiplied");
    assert_eq!((output.rows, output.columns), (a.rows, b.columns), "the size of a product");
    let ((a_columns, a_rows), (b_columns, b_rows)) = (a.strides(), b.strides());
    // SAFETY: each slice ends with the last value of its matrix, which `extent` computes and
    // the constructors cut to, so every access is inside; `output` is borrowed uniquely.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            output.values.as_mut_ptr(),
            1,
            output.stride as isize,
            mode == Mode::Add,
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
            Parallelism::None,
        );
    }
}

/// Blocks of rows that each thread gets, so that one that is held up holds up none.
const BLOCKS_PER_THREAD: usize = 2;
/// Rows below which a block is not worth a task.
const LEAST_ROWS: usize = 64;

/// Rows of a block where `rows` are shared out to all threads.
fn rows_of_block(rows: usize) -> usize {
    match rayon::current_num_threads() {
        1 => rows.max(1),
        threads => rows.div_ceil(threads * BLOCKS_PER_THREAD).max(LEAST_ROWS),
    }
}

/// [`multiply`] with all threads.
///
/// By blocks of rows, which threads take as they are free: gemm's own threads wait for each
/// other by spinning, and lose half of their speed if anything else runs on a core.
pub(super) fn multiply_in_parallel(
    output: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    mode: Mode,
) {
    let MatrixMut { values, rows, columns, stride } = output;
    assert_eq!(rows, a.rows, "the size of a product");
    if rows == 0 || columns == 0 || a.columns == 0 {
        return;
    }
    let block = rows_of_block(rows);
    values.par_chunks_mut(block * stride).enumerate().for_each(|(i, values)| {
        let count = block.min(rows - i * block);
        let output = MatrixMut::strided(values, count, columns, stride);
        multiply(output, a.rows(i * block, count), b, scale, mode);
    });
}

/// `output = (x W^T + b) * scale`, or with `residual` that added to it; all but `weight`
/// without gaps, `output` as many rows as `x`.
pub(super) fn linear(
    output: &mut [f32],
    x: Matrix<'_>,
    weight: Matrix<'_>,
    bias: &[f32],
    scale: f32,
    residual: Option<&[f32]>,
) {
    let width = bias.len();
    let block = rows_of_block(x.rows);
    output.par_chunks_mut(block * width).enumerate().for_each(|(i, output)| {
        let (first, count) = (i * block, output.len() / width);
        for (row, output) in output.chunks_exact_mut(width).enumerate() {
            for (output, bias) in output.iter_mut().zip(bias) {
                *output = bias * scale;
            }
            if let Some(residual) = residual {
                add_to(output, &residual[(first + row) * width..][..width]);
            }
        }
        let output = MatrixMut::new(output, count, width);
        multiply(output, x.rows(first, count), weight.transposed(), scale, Mode::Add);
    });
}
