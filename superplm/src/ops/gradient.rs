//! Where the gradient of a whole parameter is summed.
//!
//! candle would return a dense gradient of the whole parameter for every part of it that a
//! sub-model uses, padded with zeros. Here a part's gradient is added in place.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::loops::{TASK, add_to, by_row, sum_of_squares};

/// The part of a parameter that a sub-model takes: of some rows, some columns. A vector is
/// one row.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Columns of the whole parameter.
    pub(crate) width: usize,
    /// The rows taken, ascending.
    pub(crate) rows: Vec<Range<usize>>,
    /// The columns taken, ascending.
    pub(crate) columns: Vec<Range<usize>>,
}

impl Part {
    /// Values a row of the part.
    pub(crate) fn row_length(&self) -> usize {
        self.columns.iter().map(Range::len).sum()
    }

    /// Where each row of the part begins in the whole parameter.
    fn row_starts(&self) -> Vec<usize> {
        self.rows.iter().cloned().flatten().map(|row| row * self.width).collect()
    }

    /// Number of rows and of columns, if the part is the beginning of both.
    pub(super) fn leading(&self) -> Option<(usize, usize)> {
        match (self.rows.as_slice(), self.columns.as_slice()) {
            ([rows], [columns]) if rows.start == 0 && columns.start == 0 => {
                Some((rows.end, columns.end))
            }
            _ => None,
        }
    }

    /// Copies the part out of the whole parameter.
    pub(super) fn gather(&self, whole: &[f32]) -> Vec<f32> {
        let starts = self.row_starts();
        by_row(starts.len() * self.row_length(), self.row_length(), |i, mut row| {
            for columns in &self.columns {
                let (run, rest) = row.split_at_mut(columns.len());
                run.copy_from_slice(&whole[starts[i] + columns.start..starts[i] + columns.end]);
                row = rest;
            }
        })
    }

    /// Adds `values` to the part within the whole.
    pub(super) fn add(&self, whole: &mut [f32], values: &[f32]) {
        let mut rows: Vec<&mut [f32]> = Vec::new();
        let mut number = 0;
        let mut rest = whole;
        for range in &self.rows {
            let (_, from) = rest.split_at_mut((range.start - number) * self.width);
            let (taken, after) = from.split_at_mut(range.len() * self.width);
            rows.extend(taken.chunks_exact_mut(self.width));
            number = range.end;
            rest = after;
        }
        let add = |(row, mut values): (&mut &mut [f32], &[f32])| {
            for columns in &self.columns {
                let (run, rest) = values.split_at(columns.len());
                add_to(&mut row[columns.clone()], run);
                values = rest;
            }
        };
        let length = self.row_length().max(1);
        let rows_a_task = (TASK / length).max(1);
        rows.par_iter_mut()
            .with_min_len(rows_a_task)
            .zip(values.par_chunks_exact(length).with_min_len(rows_a_task))
            .for_each(add);
    }
}

/// Which rows of a parameter got a gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// None.
    Nothing,
    /// These, of a table of which few are used at a time; may repeat.
    Rows(Vec<u32>),
    /// Taken as a whole, whatever the part.
    Everything,
}

/// A sum of gradients.
#[derive(Debug)]
pub(crate) struct Sum {
    /// As many values as the parameter has; zero in rows that are not touched.
    pub(crate) values: Vec<f32>,
    pub(crate) touched: Touched,
}

/// The gradient of a whole parameter, to which the parts' gradients are added.
#[derive(Debug)]
pub(crate) struct Gradient(Mutex<Sum>);

impl Gradient {
    pub(crate) fn new(length: usize) -> Self {
        Self(Mutex::new(Sum { values: vec![0.0; length], touched: Touched::Nothing }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Sum> {
        // A panic within leaves a sum that is at worst incomplete, and ends the training.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_part(&self, part: &Part, values: &[f32]) {
        let mut sum = self.lock();
        sum.touched = Touched::Everything;
        part.add(&mut sum.values, values);
    }

    /// Adds the `i`-th row of `values`, `length` long, to the beginning of row `rows[i]`
    /// of the parameter, whose rows are `width` long.
    pub(super) fn add_rows(&self, width: usize, rows: &[i64], length: usize, values: &[f32]) {
        let mut sum = self.lock();
        for (row, values) in rows.iter().zip(values.chunks_exact(length)) {
            let start = *row as usize * width;
            add_to(&mut sum.values[start..start + length], values);
        }
        let rows = rows.iter().map(|row| *row as u32);
        match &mut sum.touched {
            Touched::Everything => {}
            Touched::Rows(touched) => touched.extend(rows),
            nothing => *nothing = Touched::Rows(rows.collect()),
        }
    }
}

impl Sum {
    /// The sum of the squared values, the same however many threads there are.
    pub(crate) fn squared_norm(&mut self, width: usize) -> f64 {
        let square = |values: &[f32]| f64::from(sum_of_squares(values));
        let squares: Vec<f64> = match &mut self.touched {
            Touched::Nothing => Vec::new(),
            Touched::Rows(rows) => {
                rows.sort_unstable();
                rows.dedup();
                let row = |row: &u32| &self.values[*row as usize * width..][..width];
                rows.iter().map(|number| square(row(number))).collect()
            }
            Touched::Everything => self.values.par_chunks(TASK).map(square).collect(),
        };
        squares.into_iter().sum()
    }
}
