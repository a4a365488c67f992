//! One product with constant weights, run tile by tile on panels of tokens.

use std::ops::Range;

use tract_onnx::prelude::*;

use super::buffer::Buffer;
use super::kernels::{Epilogue, Place, Tile};
use super::parts::Linear;

/// Bytes of weights that stay in the cache while all panels of tokens pass by.
const BLOCK: usize = 128 * 1024;

/// Weights in the kernel's order, by panels of `nr` outputs.
pub(super) struct Product {
    pub(super) tile: Tile,
    depth: usize,
    pub(super) panels: usize,
    weights: Buffer,
    bias: Buffer,
}

impl Product {
    /// `columns` says for each column of the padded product which output it is.
    pub(super) fn new(
        tile: Tile,
        depth: usize,
        columns: &[Option<(&Linear, usize, f32)>],
    ) -> TractResult<Self> {
        let panels = columns.len().div_ceil(tile.nr);
        let mut weights = Buffer::new(panels * depth * tile.nr);
        let mut bias = Buffer::new(panels * tile.nr);
        for (at, column) in columns.iter().enumerate() {
            let Some((linear, output, scale)) = column else { continue };
            bias[at] = linear.bias[*output] * scale;
            let outputs = linear.bias.len();
            let values = linear.weights.try_as_plain_ram()?;
            let values = values.as_slice::<f32>()?;
            let start = at / tile.nr * depth * tile.nr + at % tile.nr;
            for k in 0..depth {
                weights[start + k * tile.nr] = values[k * outputs + output] * scale;
            }
        }
        Ok(Self { tile, depth, panels, weights, bias })
    }

    pub(super) fn linear(tile: Tile, linear: Linear) -> TractResult<Self> {
        let outputs = linear.bias.len();
        let columns: Vec<_> = (0..outputs).map(|output| Some((&linear, output, 1.0))).collect();
        Self::new(tile, linear.weights.len() / outputs, &columns)
    }

    pub(super) fn all(&self) -> Range<usize> {
        0..self.panels
    }

    /// Outputs, rounded up to whole tiles.
    pub(super) fn columns(&self) -> usize {
        self.panels * self.tile.nr
    }

    /// Multiplications that `rows` tokens take.
    pub(super) fn work(&self, rows: f64) -> f64 {
        rows * (self.depth * self.bias.len()) as f64
    }

    /// Multiplies these panels of tokens, `stride` values apart; `place` says where a tile
    /// goes, `after` is told of each run of tiles of one panel of tokens. Only the panels of
    /// outputs in `range` are computed.
    ///
    /// # Safety
    /// `a` holds these panels of this depth; `place` has room for every tile.
    pub(super) unsafe fn run(
        &self,
        a: *const f32,
        stride: usize,
        panels: Range<usize>,
        range: Range<usize>,
        place: impl Fn(usize, usize) -> Place,
        mut after: impl FnMut(usize, usize, usize),
    ) {
        let Self { tile, depth, .. } = self;
        let size = depth * tile.nr;
        let block = (BLOCK / (4 * size)).max(1);
        let mut first = range.start;
        while first < range.end {
            let end = (first + block).min(range.end);
            for p in panels.clone() {
                for j in first..end {
                    // SAFETY: within the weights; the rest is the caller's promise.
                    unsafe {
                        let bias = self.bias.as_ptr().add(j * tile.nr);
                        let weights = self.weights.as_ptr().add(j * size);
                        let epilogue = Epilogue::AddToColumns(bias);
                        tile.run(*depth, a.add(p * stride), weights, epilogue, place(p, j));
                    }
                }
                after(p, first, end);
            }
            first = end;
        }
    }
}
