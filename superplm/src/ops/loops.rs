//! Loops over plain slices, compiled for several vector extensions of which the best is
//! chosen when the program runs, and shared out to rayon's threads by rows.

use rayon::prelude::*;

use crate::vectorised::vectorised;

/// Values that one task works on, so that small inputs stay on their thread.
pub(super) const TASK: usize = 1 << 15;

/// Whole rows of `width` values that make a task, in values; never 0.
pub(super) fn task_of_rows(width: usize) -> usize {
    (TASK / width.max(1)).max(1) * width.max(1)
}

/// Fills rows of `width` values in parallel, some at a time; `fill` gets the number of its
/// first row and its rows.
pub(super) fn by_rows(output: &mut [f32], width: usize, fill: impl Fn(usize, &mut [f32]) + Sync) {
    let task = task_of_rows(width);
    let rows = task / width.max(1);
    output.par_chunks_mut(task).enumerate().for_each(|(i, block)| fill(i * rows, block));
}

/// As [`by_rows`], row by row and into values of its own, which begin as zero.
pub(super) fn by_row(
    length: usize,
    width: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut output = vec![0.0; length];
    by_rows(&mut output, width, |first, block| {
        for (i, row) in block.chunks_exact_mut(width.max(1)).enumerate() {
            fill(first + i, row);
        }
    });
    output
}

/// `values *= factors`.
pub(super) fn multiply_by(values: &mut [f32], factors: &[f32]) {
    vectorised! {
        fn block(values: &mut [f32], factors: &[f32]) {
            for (value, factor) in values.iter_mut().zip(factors) {
                *value *= factor;
            }
        }
    }
    values.par_chunks_mut(TASK).zip(factors.par_chunks(TASK)).for_each(|(v, f)| block(v, f));
}

vectorised! {
    /// `values += others`.
    pub(super) fn add_to(values: &mut [f32], others: &[f32]) {
        for (value, other) in values.iter_mut().zip(others) {
            *value += other;
        }
    }
}

/// The sum over all rows of `values`. Always summed in the same order, however many threads
/// there are.
pub(super) fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = values
        .par_chunks(task_of_rows(width))
        .map(|rows| {
            let mut sums = vec![0.0; width];
            for row in rows.chunks_exact(width) {
                add_to(&mut sums, row);
            }
            sums
        })
        .collect();
    add_up(&partial, width)
}

/// The sum of rows.
pub(super) fn add_up(rows: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for row in rows {
        add_to(&mut total, row);
    }
    total
}

vectorised! {
    /// The sum of the squared values.
    pub(super) fn sum_of_squares(values: &[f32]) -> f32 {
        sum(values, values, |a, b| a * b)
    }
}

/// The sum of `term` over pairs of values, in 32 interleaved partial sums: more exact than
/// one, and vectorised. The same whatever the vector extension.
#[inline(always)]
pub(super) fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; 32];
    let (a, b) = (a.chunks_exact(partial.len()), b.chunks_exact(partial.len()));
    let (a_rest, b_rest) = (a.remainder(), b.remainder());
    for (a, b) in a.zip(b) {
        for ((partial, a), b) in partial.iter_mut().zip(a).zip(b) {
            *partial += term(*a, *b);
        }
    }
    for ((partial, a), b) in partial.iter_mut().zip(a_rest).zip(b_rest) {
        *partial += term(*a, *b);
    }
    for half in [16, 8, 4, 2, 1] {
        let (low, high) = partial.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
    }
    partial[0]
}

/// The largest value, found in 16 interleaved ones, so that it vectorises.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut partial = [f32::NEG_INFINITY; 16];
    let chunks = values.chunks_exact(partial.len());
    let rest = chunks.remainder();
    let mut take = |values: &[f32]| {
        for (partial, value) in partial.iter_mut().zip(values) {
            *partial = if value > partial { *value } else { *partial };
        }
    };
    chunks.for_each(&mut take);
    take(rest);
    partial.into_iter().fold(f32::NEG_INFINITY, f32::max)
}
