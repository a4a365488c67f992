//! One product with constant weights, run tile by tile on panels of tokens.

use std::ops::Range;

use tract_onnx::prelude::*;

use super::buffer::Buffer;
use super::kernels::{Epilogue, Kernels, Tile};
use super::parts::Linear;
use super::passes::Level;
use super::rounded::{IntegerTile, Outputs, Rounding, Tokens};
use super::shared::{Part, Place};

/// Bytes of weights that stay in the cache while all panels of tokens pass by.
const BLOCK: usize = 128 * 1024;

/// Weights in the kernel's order, by panels of outputs.
pub(super) struct Product {
    /// The kernel in floating point, in whose panels the outputs lie, whatever the weights are.
    pub(super) tile: Tile,
    depth: usize,
    /// Outputs that [`Place`]s are given for together.
    pub(super) unit: usize,
    /// Of so many outputs.
    pub(super) panels: usize,
    bias: Buffer,
    weights: Weights,
}

enum Weights {
    /// By panels of the tile's `nr`.
    Values(Buffer),
    /// By panels of the integer tile's `nr`, and what a step of each output is worth.
    Steps {
        tile: IntegerTile,
        rounding: Rounding,
        /// Columns, whole panels of them, that take the first digit of the tokens alone.
        coarse: usize,
        steps: Vec<i8>,
        scales: Buffer,
    },
}

/// One column of a product: an output of a linear module, and what it is multiplied by.
pub(super) type Column<'a> = Option<(&'a Linear, usize, f32)>;

/// Where a product's operand lies.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    /// Panels of tokens, feature by feature, so many values apart.
    pub(super) panels: *const f32,
    pub(super) stride: usize,
    /// Memory to round them in, panels as far apart as the largest product wants them.
    pub(super) rounded: Part<'a>,
    pub(super) rounded_stride: usize,
    pub(super) level: Level,
}

impl Product {
    /// `columns` says for each column of the padded product which output it is; they are placed
    /// by `unit`. Where tokens are rounded finely the first `coarse` of them have no use of it.
    pub(super) fn new(
        Kernels { tile, integers }: Kernels,
        depth: usize,
        unit: usize,
        coarse: usize,
        columns: &[Column<'_>],
    ) -> TractResult<Self> {
        let panels = columns.len().div_ceil(unit);
        let nr = integers.as_ref().map_or(tile.nr, |(tile, _)| tile.nr);
        let count = (panels * unit).next_multiple_of(nr);
        let mut bias = Buffer::new(count);
        for (to, column) in bias.iter_mut().zip(columns) {
            if let Some((linear, output, scale)) = column {
                *to = linear.bias[*output] * scale;
            }
        }
        let filled = columns.iter().enumerate().filter_map(|(at, column)| Some((at, (*column)?)));
        let weights = match integers {
            None => {
                let mut values = Buffer::new(count * depth);
                for (at, (linear, output, scale)) in filled {
                    let start = at / nr * depth * nr + at % nr;
                    let column = linear.weights.column(output)?;
                    for (to, value) in values[start..].iter_mut().step_by(nr).zip(column) {
                        *to = value * scale;
                    }
                }
                Weights::Values(values)
            }
            Some((tile, rounding)) => {
                let size = tile.bytes(depth, nr);
                let coarse = match rounding {
                    Rounding::Coarse => count,
                    Rounding::Fine => coarse / nr * nr,
                };
                let mut steps = vec![0; count / nr * size + SPARE];
                let mut scales = Buffer::new(count);
                for (at, (linear, output, scale)) in filled {
                    let Some((column, worth)) = linear.weights.steps(output)? else {
                        return Err(TractError::msg("weights that were not rounded"));
                    };
                    let digit = if at < coarse { rounding.first_digit() } else { 1.0 };
                    scales[at] = worth * scale * digit;
                    let panel = &mut steps[at / nr * size..][..size];
                    for (k, step) in column.into_iter().enumerate() {
                        panel[tile.place(nr, k, at % nr)] = step;
                    }
                }
                Weights::Steps { tile, rounding, coarse, steps, scales }
            }
        };
        Ok(Self { tile, depth, unit, panels, bias, weights })
    }

    pub(super) fn linear(kernels: Kernels, linear: &Linear) -> TractResult<Self> {
        let outputs = linear.bias.len();
        let depth = linear.weights.sizes().map_or(0, |[inputs, _]| inputs);
        let columns: Vec<_> = (0..outputs).map(|output| Some((linear, output, 1.0))).collect();
        let unit = kernels.unit();
        Self::new(kernels, depth, unit, 0, &columns)
    }

    pub(super) fn all(&self) -> Range<usize> {
        0..self.panels
    }

    /// Outputs, rounded up to whole tiles.
    pub(super) fn columns(&self) -> usize {
        self.panels * self.unit
    }

    /// Multiplications that `rows` tokens take.
    pub(super) fn work(&self, rows: f64) -> f64 {
        rows * (self.depth * self.bias.len()) as f64
    }

    /// The kernel that computes it, and its tile of tokens and outputs.
    pub(super) fn kernel(&self) -> (&str, (usize, usize)) {
        match &self.weights {
            Weights::Values(_) => (&self.tile.name, (self.tile.mr, self.tile.nr)),
            Weights::Steps { tile, .. } => (&tile.name, (tile.mr, tile.nr)),
        }
    }

    /// Values that a panel of `height` tokens takes when it is rounded for this product.
    pub(super) fn rounded_stride(&self, height: usize) -> usize {
        match &self.weights {
            Weights::Values(_) => 0,
            Weights::Steps { tile, rounding, .. } => tile.stride(self.depth, height, *rounding),
        }
    }

    /// Multiplies these panels of `MR` tokens; `place` says where a tile goes, `after` is told of
    /// each run of outputs of one panel of tokens. Only the panels of outputs in `range` are
    /// stored.
    ///
    /// # Safety
    /// The operand holds these panels of this depth, and room to round them that is this thread's
    /// own; `place` has room for every tile.
    pub(super) unsafe fn run<const MR: usize>(
        &self,
        operand: Operand<'_>,
        panels: Range<usize>,
        range: Range<usize>,
        place: impl Fn(usize, usize) -> Place,
        after: impl FnMut(usize, Range<usize>),
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match &self.weights {
                Weights::Values(values) => {
                    self.in_floats(values, operand, panels, range, place, after);
                }
                Weights::Steps { tile, rounding, coarse, steps, scales } => {
                    let weights = (tile, (*rounding, *coarse), &**steps, scales);
                    self.in_integers::<MR>(weights, operand, panels, range, place, after);
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn in_floats(
        &self,
        weights: &Buffer,
        operand: Operand<'_>,
        panels: Range<usize>,
        range: Range<usize>,
        place: impl Fn(usize, usize) -> Place,
        mut after: impl FnMut(usize, Range<usize>),
    ) {
        let Self { tile, depth, .. } = self;
        let size = depth * tile.nr;
        for block in blocks(range, 4 * size) {
            for p in panels.clone() {
                for j in block.clone() {
                    // SAFETY: within the weights; the rest is the caller's promise.
                    unsafe {
                        let bias = self.bias.as_ptr().add(j * tile.nr);
                        let weights = weights.as_ptr().add(j * size);
                        let epilogue = Epilogue::AddToColumns(bias);
                        let tokens = operand.panels.add(p * operand.stride);
                        tile.run(*depth, tokens, weights, epilogue, place(p, j));
                    }
                }
                after(p, block.start * tile.nr..block.end * tile.nr);
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn in_integers<const MR: usize>(
        &self,
        (tile, (rounding, coarse), steps, scales): (
            &IntegerTile,
            (Rounding, usize),
            &[i8],
            &Buffer,
        ),
        operand: Operand<'_>,
        panels: Range<usize>,
        range: Range<usize>,
        place: impl Fn(usize, usize) -> Place,
        mut after: impl FnMut(usize, Range<usize>),
    ) {
        let Self { depth, unit, .. } = *self;
        let Operand { rounded, rounded_stride, level, .. } = operand;
        for p in panels.clone() {
            // SAFETY: the caller's promise.
            unsafe {
                let from = operand.panels.add(p * operand.stride);
                tile.round::<MR>(level, depth, rounding, from, rounded.at(p * rounded_stride));
            }
        }
        let size = tile.bytes(depth, tile.nr);
        let wanted = range.start * unit..range.end * unit;
        for block in blocks(wanted.start / tile.nr..wanted.end.div_ceil(tile.nr), size) {
            for p in panels.clone() {
                for j in block.clone() {
                    let first = j * tile.nr;
                    let columns = wanted.start.saturating_sub(first)
                        ..tile.nr.min(wanted.end.saturating_sub(first));
                    let place = |column: usize| {
                        let (panel, at) = ((first + column) / unit, (first + column) % unit);
                        let mut place = place(p, panel);
                        place.start = place.start.wrapping_add(at * place.column);
                        (unit - at, place)
                    };
                    for token in (0..MR).step_by(tile.mr) {
                        // SAFETY: within the weights; the rest is the caller's promise.
                        unsafe {
                            let tokens = Tokens {
                                panel: rounded.at(p * rounded_stride),
                                height: MR,
                                first: token,
                                both: first >= coarse,
                            };
                            let outputs = Outputs {
                                steps: steps.as_ptr().add(j * size),
                                scales: scales.as_ptr().add(first),
                                bias: self.bias.as_ptr().add(first),
                            };
                            tile.run(level, depth, tokens, outputs, columns.clone(), place);
                        }
                    }
                }
                let stored = (block.start * tile.nr).max(wanted.start)
                    ..(block.end * tile.nr).min(wanted.end);
                after(p, stored);
            }
        }
    }
}

/// Steps past the end that a kernel may read.
const SPARE: usize = 256;

/// `range` in blocks of panels of `size` bytes, as many as stay in the cache.
fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let count = (BLOCK / size.max(1)).max(1);
    range.clone().step_by(count).map(move |first| first..(first + count).min(range.end))
}
