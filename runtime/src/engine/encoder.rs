//! Layers one after the other: their products run tile by tile on tokens in panels.
//!
//! Tokens lie in panels of `mr`, feature by feature: `[panel][feature][mr]`. That is how every
//! kernel takes its left operand, so what a product or a pass stores is what the next one reads.
//! Padding is left out: a sequence's panels hold its real tokens only.

use std::ops::Range;

use tract_onnx::prelude::*;

use super::kernels::{Epilogue, Place, Tile};
use super::layer::Layer;
use super::parts::{LayerParts, Wanted};
use super::passes::{self, Level, Norm};
use super::product::Product;
use super::scratch::{Scratch, Sequence};

/// Layers one after the other, ready to run.
pub(super) struct Core {
    layers: Vec<Layer>,
    hidden: usize,
    /// Values from one feature of a panel to the end, the padded hidden size.
    width: usize,
    mr: usize,
    batch: usize,
    sequence: usize,
    level: Level,
    wanted: Wanted,
}

impl Core {
    /// Packs the weights for the kernels that [`tiles`] gave.
    pub(super) fn new(
        parts: Vec<LayerParts>,
        tiles: &[Tile],
        (batch, sequence, hidden): (usize, usize, usize),
        wanted: Wanted,
    ) -> TractResult<Self> {
        let mr = tiles.first().map_or(0, |tile| tile.mr);
        let layers = parts.into_iter().zip(tiles.chunks_exact(4));
        let layers: Vec<Layer> = layers
            .map(|(layer, tiles)| Layer::new(layer, hidden, tiles))
            .collect::<TractResult<_>>()?;
        let products = layers.iter().flat_map(|layer| [&layer.output, &layer.outer]);
        let width = products.map(Product::columns).max().unwrap_or(0);
        let level = Level::detect();
        Ok(Self { layers, hidden, width, mr, batch, sequence, level, wanted })
    }

    /// The kernel of each product and the multiplications that it takes.
    pub(super) fn kernels(&self) -> impl Iterator<Item = (&str, (usize, usize), f64)> {
        let rows = (self.batch * self.sequence) as f64;
        self.layers
            .iter()
            .flat_map(|layer| [&layer.qkv, &layer.output, &layer.inner, &layer.outer])
            .map(move |product| {
                (&*product.tile.name, (product.tile.mr, product.tile.nr), product.work(rows))
            })
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Memory for a run.
    pub(super) fn scratch(&self) -> Scratch {
        Scratch::new(&self.layers, (self.batch, self.sequence), self.mr, self.width)
    }

    /// Hidden states `[batch, sequence, hidden]` and mask to hidden states.
    pub(super) fn eval(
        &self,
        scratch: &mut Scratch,
        inputs: &[TValue],
    ) -> TractResult<TVec<TValue>> {
        let [x, mask] = inputs else {
            return Err(TractError::msg("the encoder takes hidden states and a mask"));
        };
        let (batch, sequence) = (self.batch, self.sequence);
        if x.shape() != [batch, sequence, self.hidden] || mask.shape() != [batch, 1, 1, sequence] {
            return Err(TractError::msg("hidden states or mask of another size"));
        }
        let mut output = Tensor::zero::<f32>(x.shape())?;
        {
            let x = x.try_as_plain_ram()?;
            let mask = mask.try_as_plain_ram()?;
            let mut output = output.try_as_plain_ram_mut()?;
            self.run(scratch, x.as_slice()?, mask.as_slice()?, output.as_slice_mut()?);
        }
        Ok(tvec!(output.into_tvalue()))
    }

    /// `x` and `output` are `[batch, sequence, hidden]`, `output` all zero; `mask` is added to the
    /// scores of each key.
    fn run(&self, scratch: &mut Scratch, x: &[f32], mask: &[f32], output: &mut [f32]) {
        macro_rules! by_height {
            ($($mr:literal)*) => {
                match self.mr {
                    $($mr => self.run_in_panels::<$mr>(scratch, x, mask, output),)*
                    _ => unreachable!("no kernel has another height"),
                }
            };
        }
        by_height!(4 8 12 16 24 32 40 48 64 80);
    }

    fn run_in_panels<const MR: usize>(
        &self,
        scratch: &mut Scratch,
        x: &[f32],
        mask: &[f32],
        output: &mut [f32],
    ) {
        let Self { hidden, width, .. } = *self;
        let panels = scratch.place(mask, self.sequence, MR, self.wanted == Wanted::All);
        for sequence in &scratch.sequences {
            let tokens = &scratch.tokens[sequence.tokens.clone()];
            let end = sequence.panel + tokens.len().div_ceil(MR);
            // What is left of the last panel from an earlier run could be anything.
            scratch.x[(end - 1) * width * MR..end * width * MR].fill(0.0);
            for (at, token) in tokens.iter().enumerate() {
                let start = (sequence.panel + at / MR) * width * MR + at % MR;
                let row = &x[token * hidden..][..hidden];
                for (to, from) in scratch.x[start..].iter_mut().step_by(MR).zip(row) {
                    *to = *from;
                }
            }
        }
        let (last, others) = match (self.wanted, self.layers.split_last()) {
            (Wanted::First, Some((last, others))) => (Some(last), others),
            _ => (None, &*self.layers),
        };
        for layer in others {
            self.project::<MR>(layer, scratch, panels, 0..layer.qkv.panels);
            for index in 0..scratch.sequences.len() {
                self.attention::<MR>(layer, scratch, index, panels, mask);
            }
            self.after_attention::<MR>(layer, scratch, panels);
        }
        if let Some(layer) = last {
            self.project::<MR>(layer, scratch, panels, layer.query_panels()..layer.qkv.panels);
            self.attention_of_first::<MR>(layer, scratch, panels, mask);
            self.after_attention::<MR>(layer, scratch, self.batch.div_ceil(MR));
        }
        let mut store = |panel: usize, lane: usize, token: usize| {
            let row = &mut output[token * hidden..][..hidden];
            let from = scratch.x[panel * width * MR + lane..].iter().step_by(MR);
            row.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        };
        for (row, sequence) in scratch.sequences.iter().enumerate() {
            if last.is_some() {
                store(row / MR, row % MR, row * self.sequence);
                continue;
            }
            for (at, token) in scratch.tokens[sequence.tokens.clone()].iter().enumerate() {
                store(sequence.panel + at / MR, at % MR, *token);
            }
        }
    }

    /// Those queries, keys and values of all tokens that lie in `range` of the weights' panels.
    fn project<const MR: usize>(
        &self,
        layer: &Layer,
        scratch: &mut Scratch,
        panels: usize,
        range: Range<usize>,
    ) {
        let tokens = panels * MR;
        let nr = layer.qkv.tile.nr;
        let queries = layer.query_panels();
        let qk_stride = 2 * queries * nr * MR;
        let (qk, v) = (scratch.qk.as_mut_ptr(), scratch.v.as_mut_ptr());
        // SAFETY: the buffers are as large as this layer needs for every panel there can be;
        // offsets below follow their layout.
        unsafe {
            let place = |p: usize, j: usize| {
                if j < 2 * queries {
                    let start = qk.add(p * qk_stride + j * nr * MR);
                    Place { start, row: 1, column: MR }
                } else {
                    let start = v.add(((j - 2 * queries) * tokens + p * MR) * nr);
                    Place { start, row: nr, column: 1 }
                }
            };
            let x = scratch.x.as_ptr();
            layer.qkv.run(x, self.width * MR, panels, range, place, |_, _, _| ());
        }
    }

    /// From the context to the layer's output, in place of its input.
    fn after_attention<const MR: usize>(
        &self,
        layer: &Layer,
        scratch: &mut Scratch,
        panels: usize,
    ) {
        let stride = self.width * MR;
        let columns = |product: &Product, to: *mut f32, stride: usize| {
            let size = product.tile.nr * MR;
            move |p: usize, j: usize| Place {
                // SAFETY: within buffers as large as this layer needs for every panel.
                start: unsafe { to.add(p * stride + j * size) },
                row: 1,
                column: MR,
            }
        };
        let y = scratch.y.as_mut_ptr();
        let Layer { output, inner, outer, .. } = layer;
        let context_stride = layer.context_width() * MR;
        // SAFETY: as above.
        unsafe {
            let place = columns(output, y, stride);
            let context = scratch.context.as_ptr();
            output.run(context, context_stride, panels, output.all(), place, |_, _, _| ());
        }
        self.normalise::<MR>(scratch, panels, &layer.attention_norm);
        let inner_stride = inner.columns() * MR;
        let activated = scratch.inner.as_mut_ptr();
        // SAFETY: as above.
        unsafe {
            let place = columns(inner, activated, inner_stride);
            let size = inner.tile.nr * MR;
            let x = scratch.x.as_ptr();
            inner.run(x, stride, panels, inner.all(), place, |p, first, end| {
                let start = activated.add(p * inner_stride + first * size);
                let stored = std::slice::from_raw_parts_mut(start, (end - first) * size);
                passes::gelu(self.level, stored);
            });
            let place = columns(outer, y, stride);
            outer.run(activated, inner_stride, panels, outer.all(), place, |_, _, _| ());
        }
        self.normalise::<MR>(scratch, panels, &layer.norm);
    }

    fn normalise<const MR: usize>(&self, scratch: &mut Scratch, panels: usize, norm: &Norm) {
        let stride = self.width * MR;
        let x = scratch.x.chunks_exact_mut(stride);
        for (x, y) in x.zip(scratch.y.chunks_exact_mut(stride)).take(panels) {
            passes::layer_norm::<MR>(self.level, x, y, norm);
        }
    }

    /// The context of one sequence, head by head.
    fn attention<const MR: usize>(
        &self,
        layer: &Layer,
        scratch: &mut Scratch,
        index: usize,
        panels: usize,
        mask: &[f32],
    ) {
        let tokens = panels * MR;
        let Sequence { panel, tokens: ref range, .. } = scratch.sequences[index];
        let panels = range.len().div_ceil(MR);
        let nr = layer.qkv.tile.nr;
        let qk_stride = 2 * layer.query_panels() * nr * MR;
        let context_stride = layer.context_width() * MR;
        let masked = scratch.gather_mask(index, mask);
        for h in 0..layer.heads {
            scratch.pack_keys::<MR>(layer, index, h);
            for p in panel..panel + panels {
                let at = h * layer.head * MR;
                // SAFETY: within buffers made for the largest layer and longest sequence.
                unsafe {
                    let query = scratch.qk.as_ptr().add(p * qk_stride + at);
                    let context = scratch.context.as_mut_ptr().add(p * context_stride + at);
                    self.attend::<MR>(layer, scratch, (index, h, masked), tokens, query, context);
                }
            }
        }
    }

    /// The contexts of the first tokens, one sequence a lane; they take the places of the first
    /// tokens there are, in `x` as well.
    fn attention_of_first<const MR: usize>(
        &self,
        layer: &Layer,
        scratch: &mut Scratch,
        panels: usize,
        mask: &[f32],
    ) {
        let tokens = panels * MR;
        let stride = self.width * MR;
        let of_first = self.batch.div_ceil(MR);
        let context_stride = layer.context_width() * MR;
        scratch.y[..of_first * stride].fill(0.0);
        for (row, sequence) in scratch.sequences.iter().enumerate() {
            let from = scratch.x[sequence.panel * stride..].iter().step_by(MR).take(self.width);
            let to = scratch.y[row / MR * stride + row % MR..].iter_mut().step_by(MR);
            to.zip(from).for_each(|(to, from)| *to = *from);
        }
        scratch.x[..of_first * stride].copy_from_slice(&scratch.y[..of_first * stride]);
        let (nr, queries) = (layer.qkv.tile.nr, layer.query_panels());
        let query_stride = queries * nr * MR;
        let first = scratch.first.as_mut_ptr();
        // SAFETY: the buffer holds the queries of a lane for each sequence.
        unsafe {
            let place = |p: usize, j: usize| Place {
                start: first.add(p * query_stride + j * nr * MR),
                row: 1,
                column: MR,
            };
            let x = scratch.x.as_ptr();
            layer.qkv.run(x, stride, of_first, 0..queries, place, |_, _, _| ());
        }
        scratch.context[..of_first * context_stride].fill(0.0);
        let context = scratch.context.as_mut_ptr();
        for row in 0..scratch.sequences.len() {
            let masked = scratch.gather_mask(row, mask);
            for h in 0..layer.heads {
                scratch.pack_keys::<MR>(layer, row, h);
                let at = h * layer.head * MR;
                // SAFETY: within buffers made for the largest layer and longest sequence; the
                // last buffer holds the context of a head.
                unsafe {
                    let query = scratch.first.as_ptr().add(row / MR * query_stride + at);
                    let own = scratch.inner.as_mut_ptr();
                    self.attend::<MR>(layer, scratch, (row, h, masked), tokens, query, own);
                    let context = context.add(row / MR * context_stride + at);
                    for at in (row % MR..layer.head * MR).step_by(MR) {
                        *context.add(at) = *own.add(at);
                    }
                }
            }
        }
    }

    /// The context of one panel of queries among the keys of head `h` of the sequence `index`,
    /// which are packed.
    ///
    /// # Safety
    /// `query` holds the queries of the head, `context` has room for its values, rounded up to
    /// whole tiles; `tokens` is the number of rows of the values.
    unsafe fn attend<const MR: usize>(
        &self,
        layer: &Layer,
        scratch: &mut Scratch,
        (index, h, masked): (usize, usize, bool),
        tokens: usize,
        query: *const f32,
        context: *mut f32,
    ) {
        let Sequence { panel, tokens: ref range, .. } = scratch.sequences[index];
        let keys = range.len();
        let tile = &layer.qkv.tile;
        let (nr, head) = (tile.nr, layer.head);
        let mut scale = [0.0; MR];
        // SAFETY: as the caller promises; scores and packed keys are as long as any sequence.
        unsafe {
            for j in 0..keys.div_ceil(nr) {
                let key = scratch.packed.as_ptr().add(j * head * nr);
                let start = scratch.scores.as_mut_ptr().add(j * nr * MR);
                let place = Place { start, row: 1, column: MR };
                tile.run(head, query, key, Epilogue::None, place);
            }
            let scores = &mut scratch.scores[..keys * MR];
            let mask = masked.then(|| &scratch.mask[..keys]);
            passes::softmax::<MR>(self.level, scores, mask, &mut scale);
            for j in 0..layer.value_panels() {
                let value = (h * layer.value_panels() + j) * tokens + panel * MR;
                let value = scratch.v.as_ptr().add(value * nr);
                let place = Place { start: context.add(j * nr * MR), row: 1, column: MR };
                let epilogue = Epilogue::MultiplyRows(scale.as_ptr());
                tile.run(keys, scratch.scores.as_ptr(), value, epilogue, place);
            }
        }
    }
}
