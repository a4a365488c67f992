//! Attention: all heads of all sequences, each head a few columns of q, k and v.

use rayon::prelude::*;

use super::super::dropout::Dropout;
use super::super::loops::add_to;
use super::super::product::{Matrix, MatrixMut, Mode, multiply};
use super::super::scratch::Scratch;
use super::LayerShape;
use super::softmax::{masked_softmax_of_rows, softmax_gradient_of_rows};

/// One head of one sequence: where its columns lie.
#[derive(Clone, Copy)]
struct Head {
    /// Tokens that attend.
    asked: usize,
    /// Tokens that are attended to.
    sequence: usize,
    size: usize,
    /// Width of q, k and v.
    width: usize,
    /// The first column.
    start: usize,
}

impl Head {
    fn each(shape: &LayerShape) -> impl Iterator<Item = Self> + use<> {
        let LayerShape { asked, sequence, qkv: width, .. } = *shape;
        let size = shape.head_size();
        (0..shape.heads).map(move |head| Self { asked, sequence, size, width, start: head * size })
    }

    /// The head's columns of what a sequence's tokens have.
    fn of(self, values: &[f32]) -> Matrix<'_> {
        let tokens = values.len() / self.width;
        Matrix::strided(&values[self.start..], tokens, self.size, self.width)
    }

    fn of_mut(self, values: &mut [f32]) -> MatrixMut<'_> {
        let tokens = values.len() / self.width;
        MatrixMut::strided(&mut values[self.start..], tokens, self.size, self.width)
    }

    /// What there is for each pair of tokens.
    fn pairs(self, values: &[f32]) -> Matrix<'_> {
        Matrix::new(values, self.asked, self.sequence)
    }

    fn pairs_mut(self, values: &mut [f32]) -> MatrixMut<'_> {
        MatrixMut::new(values, self.asked, self.sequence)
    }
}

/// Queries (scaled), `[rows * asked, qkv]`, keys and values, each `[rows * sequence, qkv]`.
pub(super) struct Projections<'a> {
    pub(super) query: &'a [f32],
    pub(super) key: &'a [f32],
    pub(super) value: &'a [f32],
}

/// One row's probabilities and attended values, and its scores if they are asked for.
type RowOutputs<'a> = ((&'a mut [f32], &'a mut [f32]), Option<&'a mut [f32]>);

/// What attention makes of them.
pub(super) struct Attended<'a> {
    /// Probabilities before dropout, `[rows, heads, asked, sequence]`.
    pub(super) probabilities: &'a mut [f32],
    /// The values that each token gets, `[rows * asked, qkv]`.
    pub(super) attended: &'a mut [f32],
    /// The scores, if they are asked for, as many as probabilities.
    pub(super) scores: Option<&'a mut [f32]>,
}

/// Sets the probabilities, the attended values and, if they are asked for, the scores.
pub(super) fn forward(
    shape: &LayerShape,
    of: &Projections<'_>,
    penalty: &[f32],
    output: Attended<'_>,
    dropout: Dropout,
    scratch: &Scratch,
) {
    let (width, asked_width) = (shape.sequence * shape.qkv, shape.asked * shape.qkv);
    let square = shape.asked * shape.sequence;
    let squares = shape.heads * square;
    let row = |(row, ((probabilities, attended), scores)): (usize, RowOutputs<'_>)| {
        let query = &of.query[row * asked_width..][..asked_width];
        let [key, value] = [of.key, of.value].map(|values| &values[row * width..][..width]);
        let penalty = &penalty[row * shape.sequence..][..shape.sequence];
        for (head, probabilities) in Head::each(shape).zip(probabilities.chunks_exact_mut(square)) {
            let output = head.pairs_mut(probabilities);
            let keys = head.of(key).transposed();
            multiply(output, head.of(query), keys, 1.0, Mode::Overwrite);
        }
        if let Some(scores) = scores {
            scores.copy_from_slice(probabilities);
        }
        let mut kept = (!dropout.is_none()).then(|| scratch.take(square));
        let heads = Head::each(shape).zip(probabilities.chunks_exact_mut(square));
        for (number, (head, probabilities)) in heads.enumerate() {
            masked_softmax_of_rows(probabilities, penalty);
            let probabilities: &[f32] = match &mut kept {
                Some(kept) => {
                    kept.copy_from_slice(probabilities);
                    dropout.apply(kept, dropout.row(row) * squares + number * square);
                    kept
                }
                None => probabilities,
            };
            let (output, values) = (head.of_mut(attended), head.of(value));
            multiply(output, head.pairs(probabilities), values, 1.0, Mode::Overwrite);
        }
    };
    let Attended { probabilities, attended, scores } = output;
    let rows =
        probabilities.par_chunks_exact_mut(squares).zip(attended.par_chunks_exact_mut(asked_width));
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

/// The gradients of what attention made.
pub(super) struct AttendedGradients<'a> {
    pub(super) attended: &'a [f32],
    /// If the scores were asked for.
    pub(super) scores: Option<&'a [f32]>,
}

/// Sets the gradients of the projections; `probabilities` are those before dropout.
pub(super) fn backward(
    shape: &LayerShape,
    of: &Projections<'_>,
    probabilities: &[f32],
    gradients: &AttendedGradients<'_>,
    output: ProjectionGradients<'_>,
    dropout: Dropout,
    scratch: &Scratch,
) {
    let AttendedGradients { attended, scores } = *gradients;
    let (width, asked_width) = (shape.sequence * shape.qkv, shape.asked * shape.qkv);
    let square = shape.asked * shape.sequence;
    let scale = shape.scale() as f32;
    let rows = output
        .query
        .par_chunks_exact_mut(asked_width)
        .zip(output.key.par_chunks_exact_mut(width))
        .zip(output.value.par_chunks_exact_mut(width));
    rows.enumerate().for_each(|(row, ((to_query, to_key), to_value))| {
        let [query, attended] =
            [of.query, attended].map(|values| &values[row * asked_width..][..asked_width]);
        let [key, value] = [of.key, of.value].map(|values| &values[row * width..][..width]);
        let mut gradient = scratch.take(square);
        let mut kept = (!dropout.is_none()).then(|| scratch.take(square));
        for (number, head) in Head::each(shape).enumerate() {
            let at = (row * shape.heads + number) * square;
            let place = (dropout.row(row) * shape.heads + number) * square;
            let probabilities = &probabilities[at..at + square];
            let from = head.of(attended);
            let of_probabilities = head.pairs_mut(&mut gradient);
            multiply(of_probabilities, from, head.of(value).transposed(), 1.0, Mode::Overwrite);
            dropout.apply(&mut gradient, place);
            let transposed = match &mut kept {
                Some(kept) => {
                    kept.copy_from_slice(probabilities);
                    dropout.apply(kept, place);
                    head.pairs(kept).transposed()
                }
                None => head.pairs(probabilities).transposed(),
            };
            multiply(head.of_mut(to_value), transposed, from, 1.0, Mode::Overwrite);
            softmax_gradient_of_rows(probabilities, &mut gradient, head.sequence);
            if let Some(scores) = scores {
                add_to(&mut gradient, &scores[at..at + square]);
            }
            let of_scores = head.pairs(&gradient);
            multiply(head.of_mut(to_query), of_scores, head.of(key), scale, Mode::Overwrite);
            let transposed = of_scores.transposed();
            multiply(head.of_mut(to_key), transposed, head.of(query), 1.0, Mode::Overwrite);
        }
    });
}
