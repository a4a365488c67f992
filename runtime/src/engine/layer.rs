//! One encoder layer: its four products and two norms, packed for their kernels.

use tract_onnx::prelude::*;

use super::Engine;
use super::kernels::{Kernels, Shape, choose};
use super::parts::{LayerParts, Linear};
use super::passes::{Level, Norm};
use super::product::Product;
use super::rounded::Rounding;

/// Layers one after the other, their weights packed.
pub(super) struct Stack {
    pub(super) layers: Vec<Layer>,
    pub(super) hidden: usize,
    /// The padded hidden size.
    pub(super) width: usize,
    /// Values of a panel that is rounded for the product that takes the most.
    pub(super) rounded: usize,
    pub(super) sequence: usize,
    pub(super) level: Level,
}

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
pub(super) fn kernels(
    parts: &[LayerParts],
    (batch, sequence, hidden): (usize, usize, usize),
    engine: Engine,
) -> Option<Vec<Kernels>> {
    let shapes = parts.iter().flat_map(|layer| {
        let (width, inner) = (layer.query.bias.len(), layer.inner.bias.len());
        let shape = |depth, columns, rounding, linears: &[&Linear]| {
            let are_steps = linears.iter().all(|linear| linear.weights.are_steps());
            Shape { depth, columns, rounding: are_steps.then_some(rounding) }
        };
        // Values are the most sensitive: what tokens that every text has are off by adds up in all
        // others.
        let qkv = [&layer.query, &layer.key, &layer.value];
        [
            shape(hidden, 3 * width, Rounding::Fine, &qkv),
            shape(width, hidden, Rounding::Coarse, &[&layer.output]),
            shape(hidden, inner, Rounding::Coarse, &[&layer.inner]),
            shape(inner, hidden, Rounding::Coarse, &[&layer.outer]),
        ]
    });
    choose(&shapes.collect::<Vec<_>>(), batch * sequence, engine)
}

impl Layer {
    pub(super) fn new(parts: LayerParts, hidden: usize, kernels: &[Kernels]) -> TractResult<Self> {
        let width = parts.query.bias.len();
        let head = width / parts.heads;
        let nr = kernels[0].tile.nr;
        let mut columns = Vec::new();
        for (linear, scale) in [(&parts.query, parts.score_scale), (&parts.key, 1.0)] {
            columns.extend((0..width).map(|output| Some((linear, output, scale))));
            columns.resize(columns.len().next_multiple_of(nr), None);
        }
        let scored = columns.len();
        for h in 0..parts.heads {
            columns.extend((0..head).map(|output| Some((&parts.value, h * head + output, 1.0))));
            columns.resize(columns.len().next_multiple_of(nr), None);
        }
        // Attention takes them in the panels of its own kernel.
        let qkv = Product::new(kernels[0].clone(), hidden, nr, scored, &columns)?;
        let LayerParts { heads, output, attention_norm, inner, outer, norm, .. } = parts;
        Ok(Self {
            heads,
            head,
            qkv,
            output: Product::linear(kernels[1].clone(), &output)?,
            attention_norm,
            inner: Product::linear(kernels[2].clone(), &inner)?,
            outer: Product::linear(kernels[3].clone(), &outer)?,
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
