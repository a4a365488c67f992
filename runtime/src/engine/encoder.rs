//! The encoder as one operation: its layers' products run tile by tile on tokens in panels.
//!
//! Tokens lie in panels of `mr`, feature by feature: `[panel][feature][mr]`. That is how every
//! kernel takes its left operand, so what a product or a pass stores is what the next one reads.
//! Padding is left out: a sequence's panels hold its real tokens only.

use std::ops::Range;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{
    EvalContext, EvalOp, LaneId, Op, OpState, StaticName, TypedOp, as_op, op_as_typed_op,
};

use super::buffer::Buffer;
use super::kernels::{Epilogue, Place, Shape, Tile, choose};
use super::parts::{LayerParts, Linear, PADDING, Wanted};
use super::passes::{self, Level, Norm};

/// Bytes of weights that stay in the cache while all panels of tokens pass by.
const BLOCK: usize = 128 * 1024;

/// Weights in the kernel's order, by panels of `nr` outputs.
struct Product {
    tile: Tile,
    depth: usize,
    panels: usize,
    weights: Buffer,
    bias: Buffer,
}

impl Product {
    /// `columns` says for each column of the padded product which output it is.
    fn new(
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

    fn linear(tile: Tile, linear: Linear) -> TractResult<Self> {
        let outputs = linear.bias.len();
        let columns: Vec<_> = (0..outputs).map(|output| Some((&linear, output, 1.0))).collect();
        Self::new(tile, linear.weights.len() / outputs, &columns)
    }

    fn all(&self) -> Range<usize> {
        0..self.panels
    }

    fn columns(&self) -> usize {
        self.panels * self.tile.nr
    }

    /// Multiplies `panels` panels of tokens, `stride` values apart; `place` says where a tile
    /// goes, `after` is told of each run of tiles of one panel of tokens. Only the panels of
    /// outputs in `range` are computed.
    ///
    /// # Safety
    /// `a` holds that many panels of this depth; `place` has room for every tile.
    unsafe fn run(
        &self,
        a: *const f32,
        stride: usize,
        panels: usize,
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
            for p in 0..panels {
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

struct Layer {
    heads: usize,
    head: usize,
    /// Panels of outputs: queries, as many of keys, then the values head by head.
    qkv: Product,
    output: Product,
    attention_norm: Norm,
    inner: Product,
    outer: Product,
    norm: Norm,
}

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
                let work = rows * (product.depth * product.bias.len()) as f64;
                (&*product.tile.name, (product.tile.mr, product.tile.nr), work)
            })
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    fn scratch(&self) -> Scratch {
        let panels = self.batch * self.sequence.div_ceil(self.mr);
        let tokens = panels * self.mr;
        let most = |size: &dyn Fn(&Layer) -> usize| {
            Buffer::new(self.layers.iter().map(size).max().unwrap_or(0))
        };
        let keys = |layer: &Layer| self.sequence.next_multiple_of(layer.qkv.tile.nr);
        Scratch {
            sequences: Vec::with_capacity(self.batch),
            tokens: Vec::with_capacity(self.batch * self.sequence),
            mask: Buffer::new(self.sequence),
            x: Buffer::new(tokens * self.width),
            y: Buffer::new(tokens * self.width),
            qk: most(&|layer| 2 * layer.query_panels() * layer.qkv.tile.nr * tokens),
            v: most(&|layer| layer.heads * layer.value_panels() * layer.qkv.tile.nr * tokens),
            packed: most(&|layer| keys(layer) * layer.head),
            scores: most(&|layer| keys(layer) * self.mr),
            context: most(&|layer| layer.context_width() * tokens),
            inner: most(&|layer| {
                // The first tokens' context is put here too, a head at a time.
                let head = layer.value_panels() * layer.qkv.tile.nr * self.mr;
                head.max(layer.inner.columns() * tokens)
            }),
            first: most(&|layer| {
                layer.query_panels() * layer.qkv.tile.nr * self.batch.next_multiple_of(self.mr)
            }),
        }
    }

    /// `x` and `output` are `[batch, sequence, hidden]`, `mask` is added to the scores of each
    /// key.
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
        if last.is_some() || scratch.tokens.len() < self.batch * self.sequence {
            output.fill(0.0);
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

impl Layer {
    fn new(parts: LayerParts, hidden: usize, tiles: &[Tile]) -> TractResult<Self> {
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

    fn query_panels(&self) -> usize {
        (self.heads * self.head).div_ceil(self.qkv.tile.nr)
    }

    fn value_panels(&self) -> usize {
        self.head.div_ceil(self.qkv.tile.nr)
    }

    /// Features of the context, with room for what the last head's last tile adds.
    fn context_width(&self) -> usize {
        self.heads * self.head + self.qkv.tile.nr
    }
}

/// One sequence's place among the panels.
#[derive(Clone, Debug)]
struct Sequence {
    panel: usize,
    /// Which of [`Scratch::tokens`].
    tokens: Range<usize>,
    /// Whether the mask is to be added to the scores.
    masked: bool,
}

/// Memory of a run, kept for the next.
#[derive(Clone, Debug)]
struct Scratch {
    sequences: Vec<Sequence>,
    tokens: Vec<usize>,
    mask: Buffer,
    x: Buffer,
    y: Buffer,
    qk: Buffer,
    v: Buffer,
    packed: Buffer,
    scores: Buffer,
    context: Buffer,
    inner: Buffer,
    /// Queries of the first tokens.
    first: Buffer,
}

impl Scratch {
    /// Takes the mask of a sequence's tokens together; whether it is to be added to the scores.
    fn gather_mask(&mut self, index: usize, mask: &[f32]) -> bool {
        let Sequence { tokens: ref range, masked, .. } = self.sequences[index];
        if masked {
            let values = self.mask.iter_mut().zip(&self.tokens[range.clone()]);
            values.for_each(|(value, token)| *value = mask[*token]);
        }
        masked
    }

    /// Packs the keys of head `h` of one sequence as the kernel takes its right operand.
    fn pack_keys<const MR: usize>(&mut self, layer: &Layer, index: usize, h: usize) {
        let Sequence { panel, tokens: ref range, .. } = self.sequences[index];
        let keys = range.len();
        let (nr, head, queries) = (layer.qkv.tile.nr, layer.head, layer.query_panels());
        let qk_stride = 2 * queries * nr * MR;
        let k = panel * qk_stride + queries * nr * MR + h * head * MR;
        for key in 0..keys.next_multiple_of(nr) {
            let to = self.packed[key / nr * head * nr + key % nr..].iter_mut();
            let to = to.step_by(nr).take(head);
            if key < keys {
                let from = &self.qk[k + key / MR * qk_stride + key % MR..];
                for (to, from) in to.zip(from.iter().step_by(MR)) {
                    *to = *from;
                }
            } else {
                to.for_each(|to| *to = 0.0);
            }
        }
    }

    /// Decides which tokens are computed and where; returns the number of panels.
    fn place(&mut self, mask: &[f32], length: usize, mr: usize, all: bool) -> usize {
        self.sequences.clear();
        self.tokens.clear();
        let mut panel = 0;
        for (row, mask) in mask.chunks_exact(length).enumerate() {
            let first = self.tokens.len();
            // A first token that is padding is read by the pooler all the same.
            let plain = mask[0] == 0.0
                && mask.iter().all(|value| *value == 0.0 || *value <= PADDING)
                && !all;
            let tokens = mask.iter().enumerate().filter(|(_, value)| !plain || **value == 0.0);
            self.tokens.extend(tokens.map(|(at, _)| row * length + at));
            let tokens = first..self.tokens.len();
            let panels = tokens.len().div_ceil(mr);
            self.sequences.push(Sequence { panel, tokens, masked: !plain });
            panel += panels;
        }
        panel
    }
}

/// The operation: hidden states and mask in, hidden states out.
#[derive(Clone)]
pub(super) struct Encoder {
    pub(super) core: Arc<Core>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("layers", &self.core.layers()).finish_non_exhaustive()
    }
}

impl PartialEq for Encoder {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }
}

impl Eq for Encoder {}

impl Op for Encoder {
    fn name(&self) -> StaticName {
        "BertEncoder".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Encoder {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.core.eval(&mut self.core.scratch(), &inputs).map(Some)
    }

    fn state(&self, _context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(EncoderState { scratch: self.core.scratch() })))
    }
}

impl TypedOp for Encoder {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(inputs[0].shape.clone())))
    }

    as_op!();
}

impl Core {
    fn eval(&self, scratch: &mut Scratch, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
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
}

#[derive(Clone, Debug)]
struct EncoderState {
    scratch: Scratch,
}

impl OpState for EncoderState {
    fn eval(
        &mut self,
        _context: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let encoder = op
            .downcast_ref::<Encoder>()
            .ok_or_else(|| TractError::msg("another operation's state"))?;
        encoder.core.eval(&mut self.scratch, &inputs)
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
