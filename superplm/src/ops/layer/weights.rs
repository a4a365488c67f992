//! Weights and their gradients where the whole parameters lie.

use candle_core::Result;

use super::super::gradient::Touched;
use super::super::loops::column_sums;
use super::super::operands::with_values;
use super::super::product::{Matrix, MatrixMut, Mode, multiply_in_parallel};
use super::super::scratch::Scratch;
use super::super::share::InPlace;

impl InPlace {
    /// The part of a vector.
    pub(super) fn vector(&self) -> Result<Vec<f32>> {
        with_values(&self.whole, |whole| self.part.gather(whole))
    }

    /// Calls `read` with the part of a matrix: where it lies if it is the beginning of its
    /// rows and columns, else gathered.
    pub(super) fn with_matrix<T>(&self, read: impl FnOnce(Matrix<'_>) -> T) -> Result<T> {
        with_values(&self.whole, |whole| {
            if let Some((rows, columns)) = self.part.leading() {
                return read(Matrix::strided(whole, rows, columns, self.part.width));
            }
            let (rows, columns) = (self.shape[0], self.shape[1]);
            read(Matrix::new(&self.part.gather(whole), rows, columns))
        })
    }

    /// Adds `a b` to the gradient of a matrix.
    pub(super) fn add_product(&self, a: Matrix<'_>, b: Matrix<'_>, scratch: &Scratch) {
        let Some(gradient) = &self.gradient else { return };
        let mut sum = gradient.lock();
        sum.touched = Touched::Everything;
        if let Some((rows, columns)) = self.part.leading() {
            let output = MatrixMut::strided(&mut sum.values, rows, columns, self.part.width);
            return multiply_in_parallel(output, a, b, 1.0, Mode::Add);
        }
        let (rows, columns) = (self.shape[0], self.shape[1]);
        let mut product = scratch.take(rows * columns);
        let output = MatrixMut::new(&mut product, rows, columns);
        multiply_in_parallel(output, a, b, 1.0, Mode::Overwrite);
        self.part.add(&mut sum.values, &product);
    }

    /// Adds to the gradient of a vector.
    pub(super) fn add(&self, values: &[f32]) {
        if let Some(gradient) = &self.gradient {
            gradient.add_part(&self.part, values);
        }
    }

    /// Adds the sums of the columns of `values` to the gradient of a vector.
    pub(super) fn add_columns(&self, values: &[f32]) {
        if self.gradient.is_some() {
            self.add(&column_sums(values, self.shape[0]));
        }
    }
}
