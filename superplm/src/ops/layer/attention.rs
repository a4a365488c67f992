//! Attention: all heads of all sequences, each head a few columns of q, k and v.

use rayon::prelude::*;

use super::super::loops::add_to;
use super::super::product::{Matrix, MatrixMut, Mode, multiply};
use super::super::scratch::Scratch;
use super::LayerShape;
use super::softmax::{masked_softmax_of_rows, softmax_gradient_of_rows};

/// One head of one sequence: where its columns lie.
#[derive(Clone, Copy)]
struct Head {
    sequence: usize,
    size: usize,
    /// Width of q, k and v.
    width: usize,
    /// The first column.
    start: usize,
}

impl Head {
    fn each(shape: &LayerShape) -> impl Iterator<Item = Self> + use<> {
        let (sequence, size, width) = (shape.sequence, shape.head_size(), shape.qkv);
        (0..shape.heads).map(move |head| Self { sequence, size, width, start: head * size })
    }

    /// The head's columns of a sequence's values.
    fn of(self, values: &[f32]) -> Matrix<'_> {
        Matrix::strided(&values[self.start..], self.sequence, self.size, self.width)
    }

    fn of_mut(self, values: &mut [f32]) -> MatrixMut<'_> {
        MatrixMut::strided(&mut values[self.start..], self.sequence, self.size, self.width)
    }

    fn square(self, values: &[f32]) -> Matrix<'_> {
        Matrix::new(values, self.sequence, self.sequence)
    }
}

/// Queries (scaled), keys and values, each `[rows * sequence, qkv]`.
pub(super) struct Projections<'a> {
    pub(super) query: &'a [f32],
    pub(super) key: &'a [f32],
    pub(super) value: &'a [f32],
}

/// One row's probabilities and attended values, and its scores if they are asked for.
type RowOutputs<'a> = ((&'a mut [f32], &'a mut [f32]), Option<&'a mut [f32]>);

/// Sets the probabilities, `[rows, heads, sequence, sequence]`, the attended values and, if
/// they are asked for, the scores.
pub(super) fn forward(
    shape: &LayerShape,
    of: &Projections<'_>,
    penalty: &[f32],
    probabilities: &mut [f32],
    attended: &mut [f32],
    scores: Option<&mut [f32]>,
) {
    let (width, square) = (shape.sequence * shape.qkv, shape.sequence * shape.sequence);
    let squares = shape.heads * square;
    let row = |(row, ((probabilities, attended), scores)): (usize, RowOutputs<'_>)| {
        let [query, key, value] =
            [of.query, of.key, of.value].map(|values| &values[row * width..][..width]);
        let penalty = &penalty[row * shape.sequence..][..shape.sequence];
        for (head, probabilities) in Head::each(shape).zip(probabilities.chunks_exact_mut(square)) {
            let output = MatrixMut::new(probabilities, shape.sequence, shape.sequence);
            let keys = head.of(key).transposed();
            multiply(output, head.of(query), keys, 1.0, Mode::Overwrite);
        }
        if let Some(scores) = scores {
            scores.copy_from_slice(probabilities);
        }
        for (head, probabilities) in Head::each(shape).zip(probabilities.chunks_exact_mut(square)) {
            masked_softmax_of_rows(probabilities, penalty);
            let values = head.of(value);
            multiply(
                head.of_mut(attended),
                head.square(probabilities),
                values,
                1.0,
                Mode::Overwrite,
            );
        }
    };
    let rows =
        probabilities.par_chunks_exact_mut(squares).zip(attended.par_chunks_exact_mut(width));
    match scores {
        Some(scores) => {
            let scores = scores.par_chunks_exact_mut(squares).map(Some);
            rows.zip(scores).enumerate().for_each(row);
        }
        None => rows.map(|pair| (pair, None)).enumerate().for_each(row),
    }
}

/// The gradients of the projections before they are scaled.
pub(super) struct ProjectionGradients<'a> {
    pub(super) query: &'a mut [f32],
    pub(super) key: &'a mut [f32],
    pub(super) value: &'a mut [f32],
}

/// Sets the gradients of the projections from that of the attended values and, if they were
/// asked for, of the scores.
pub(super) fn backward(
    shape: &LayerShape,
    of: &Projections<'_>,
    probabilities: &[f32],
    attended: &[f32],
    scores: Option<&[f32]>,
    output: ProjectionGradients<'_>,
    scratch: &Scratch,
) {
    let (width, square) = (shape.sequence * shape.qkv, shape.sequence * shape.sequence);
    let scale = shape.scale() as f32;
    let rows = output
        .query
        .par_chunks_exact_mut(width)
        .zip(output.key.par_chunks_exact_mut(width))
        .zip(output.value.par_chunks_exact_mut(width));
    rows.enumerate().for_each(|(row, ((to_query, to_key), to_value))| {
        let [query, key, value, attended] =
            [of.query, of.key, of.value, attended].map(|values| &values[row * width..][..width]);
        let mut gradient = scratch.take(square);
        for (number, head) in Head::each(shape).enumerate() {
            let at = (row * shape.heads + number) * square;
            let probabilities = &probabilities[at..at + square];
            let from = head.of(attended);
            let of_probabilities = MatrixMut::new(&mut gradient, head.sequence, head.sequence);
            multiply(of_probabilities, from, head.of(value).transposed(), 1.0, Mode::Overwrite);
            let transposed = head.square(probabilities).transposed();
            multiply(head.of_mut(to_value), transposed, from, 1.0, Mode::Overwrite);
            softmax_gradient_of_rows(probabilities, &mut gradient, head.sequence);
            if let Some(scores) = scores {
                add_to(&mut gradient, &scores[at..at + square]);
            }
            let of_scores = head.square(&gradient);
            multiply(head.of_mut(to_query), of_scores, head.of(key), scale, Mode::Overwrite);
            let transposed = of_scores.transposed();
            multiply(head.of_mut(to_key), transposed, head.of(query), 1.0, Mode::Overwrite);
        }
    });
}
