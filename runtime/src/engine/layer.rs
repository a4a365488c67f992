//! One encoder layer: its four products and two norms, packed for their kernels.

use tract_onnx::prelude::*;

use super::kernels::{Shape, Tile, choose};
use super::parts::LayerParts;
use super::passes::Norm;
use super::product::Product;

/// One layer, its weights packed.
pub(super) struct Layer {
    pub(super) heads: usize,
    pub(super) head: usize,
    /// Panels of outputs: queries, as many of keys, then the values head by head.
    pub(super) qkv: Product,
    pub(super) output: Product,
    pub(super) attention_norm: Norm,
    pub(super) inner: Product,
    pub(super) outer: Product,
    pub(super) norm: Norm,
}

/// The kernels for the four products of each layer; `None` where none fits.
pub(super) fn tiles(
    parts: &[LayerParts],
    (batch, sequence, hidden): (usize, usize, usize),
    measure: bool,
) -> Option<Vec<Tile>> {
    let shapes = parts.iter().flat_map(|layer| {
        let (width, inner) = (layer.query.bias.len(), layer.inner.bias.len());
        let shape = |depth, columns| Shape { depth, columns };
        [shape(hidden, 3 * width), shape(width, hidden), shape(hidden, inner), shape(inner, hidden)]
    });
    choose(&shapes.collect::<Vec<_>>(), batch * sequence, measure)
}

impl Layer {
    pub(super) fn new(parts: LayerParts, hidden: usize, tiles: &[Tile]) -> TractResult<Self> {
        let width = parts.query.bias.len();
        let head = width / parts.heads;
        let nr = tiles[0].nr;
        let mut columns = Vec::new();
        for (linear, scale) in [(&parts.query, parts.score_scale), (&parts.key, 1.0)] {
            columns.extend((0..width).map(|output| Some((linear, output, scale))));
            columns.resize(columns.len().next_multiple_of(nr), None);
        }
        for h in 0..parts.heads {
            columns.extend((0..head).map(|output| Some((&parts.value, h * head + output, 1.0))));
            columns.resize(columns.len().next_multiple_of(nr), None);
        }
        let qkv = Product::new(tiles[0].clone(), hidden, &columns)?;
        let LayerParts { heads, output, attention_norm, inner, outer, norm, .. } = parts;
        Ok(Self {
            heads,
            head,
            qkv,
            output: Product::linear(tiles[1].clone(), output)?,
            attention_norm,
            inner: Product::linear(tiles[2].clone(), inner)?,
            outer: Product::linear(tiles[3].clone(), outer)?,
            norm,
        })
    }

    pub(super) fn query_panels(&self) -> usize {
        (self.heads * self.head).div_ceil(self.qkv.tile.nr)
    }

    pub(super) fn value_panels(&self) -> usize {
        self.head.div_ceil(self.qkv.tile.nr)
    }

    /// Features of the context, with room for what the last head's last tile adds.
    pub(super) fn context_width(&self) -> usize {
        self.heads * self.head + self.qkv.tile.nr
    }
}
