//! The encoder as one operation: its layers' products run tile by tile on tokens in panels.
//!
//! Tokens lie in panels of `mr`, feature by feature: `[panel][feature][mr]`. That is how every
//! kernel takes its left operand, so what a product or a pass stores is what the next one reads.
//! Padding is left out: a sequence's panels hold its real tokens only.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{
    EvalContext, EvalOp, LaneId, Op, OpState, StaticName, TypedOp, as_op, op_as_typed_op,
};

use super::buffer::Buffer;
use super::kernels::{Epilogue, Place, Shape, Tile, choose};
use super::passes::{self, Level, Norm};

/// A linear module: weights `[inputs, outputs]`, row by row, and a bias for each output.
pub(super) struct Linear {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// What a layer consists of, as it is found in a graph.
pub(super) struct LayerParts {
    pub(super) heads: usize,
    /// Scores are multiplied by it.
    pub(super) score_scale: f32,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    pub(super) attention_norm: Norm,
    pub(super) inner: Linear,
    pub(super) outer: Linear,
    pub(super) norm: Norm,
}

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
    fn new(tile: Tile, depth: usize, columns: &[Option<(&Linear, usize, f32)>]) -> Self {
        let panels = columns.len().div_ceil(tile.nr);
        let mut weights = Buffer::new(panels * depth * tile.nr);
        let mut bias = Buffer::new(panels * tile.nr);
        for (at, column) in columns.iter().enumerate() {
            let Some((linear, output, scale)) = column else { continue };
            bias[at] = linear.bias[*output] * scale;
            let outputs = linear.bias.len();
            let start = at / tile.nr * depth * tile.nr + at % tile.nr;
            for k in 0..depth {
                weights[start + k * tile.nr] = linear.weights[k * outputs + output] * scale;
            }
        }
        Self { tile, depth, panels, weights, bias }
    }

    fn linear(tile: Tile, linear: &Linear) -> Self {
        let outputs = linear.bias.len();
        let columns: Vec<_> = (0..outputs).map(|output| Some((linear, output, 1.0))).collect();
        Self::new(tile, linear.weights.len() / outputs, &columns)
    }

    fn columns(&self) -> usize {
        self.panels * self.tile.nr
    }

    /// Multiplies `panels` panels of tokens, `stride` values apart; `place` says where a tile
    /// goes, `after` is told of each run of tiles of one panel of tokens.
    ///
    /// # Safety
    /// `a` holds that many panels of this depth; `place` has room for every tile.
    unsafe fn run(
        &self,
        a: *const f32,
        stride: usize,
        panels: usize,
        place: impl Fn(usize, usize) -> Place,
        mut after: impl FnMut(usize, usize, usize),
    ) {
        let Self { tile, depth, .. } = self;
        let size = depth * tile.nr;
        let block = (BLOCK / (4 * size)).clamp(1, self.panels);
        let mut first = 0;
        while first < self.panels {
            let end = (first + block).min(self.panels);
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
    keep_padding: bool,
}

impl Core {
    /// Packs the weights; `None` where no kernel fits.
    pub(super) fn new(
        parts: &[LayerParts],
        (batch, sequence, hidden): (usize, usize, usize),
        measure: bool,
        keep_padding: bool,
    ) -> Option<Self> {
        let shape = |depth, columns| Shape { depth, columns };
        let shapes: Vec<Shape> = parts
            .iter()
            .flat_map(|layer| {
                let (width, inner) = (layer.query.bias.len(), layer.inner.bias.len());
                [
                    shape(hidden, 3 * width),
                    shape(width, hidden),
                    shape(hidden, inner),
                    shape(inner, hidden),
                ]
            })
            .collect();
        let tiles = choose(&shapes, batch * sequence, measure)?;
        let mr = tiles.first()?.mr;
        let layers: Vec<Layer> = parts
            .iter()
            .zip(tiles.chunks_exact(4))
            .map(|(layer, tiles)| Layer::new(layer, hidden, tiles))
            .collect();
        let products = layers.iter().flat_map(|layer| [&layer.output, &layer.outer]);
        let width = products.map(Product::columns).max()?;
        let level = Level::detect();
        Some(Self { layers, hidden, width, mr, batch, sequence, level, keep_padding })
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
            inner: most(&|layer| layer.inner.columns() * tokens),
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
        let panels = scratch.place(mask, self.sequence, MR, self.keep_padding);
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
        for layer in &self.layers {
            self.layer::<MR>(layer, scratch, panels, mask);
        }
        if scratch.tokens.len() < self.batch * self.sequence {
            output.fill(0.0);
        }
        for sequence in &scratch.sequences {
            for (at, token) in scratch.tokens[sequence.tokens.clone()].iter().enumerate() {
                let start = (sequence.panel + at / MR) * width * MR + at % MR;
                let row = &mut output[token * hidden..][..hidden];
                for (to, from) in row.iter_mut().zip(scratch.x[start..].iter().step_by(MR)) {
                    *to = *from;
                }
            }
        }
    }

    fn layer<const MR: usize>(
        &self,
        layer: &Layer,
        scratch: &mut Scratch,
        panels: usize,
        mask: &[f32],
    ) {
        let Self { width, level, .. } = *self;
        let stride = width * MR;
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
            layer.qkv.run(scratch.x.as_ptr(), stride, panels, place, |_, _, _| ());
        }
        for index in 0..scratch.sequences.len() {
            self.attention::<MR>(layer, scratch, index, tokens, mask);
        }
        let columns = |product: &Product, to: *mut f32, stride: usize| {
            let size = product.tile.nr * MR;
            move |p: usize, j: usize| Place {
                // SAFETY: within the buffer, as above.
                start: unsafe { to.add(p * stride + j * size) },
                row: 1,
                column: MR,
            }
        };
        let y = scratch.y.as_mut_ptr();
        let context_stride = layer.context_width() * MR;
        // SAFETY: as above.
        unsafe {
            let place = columns(&layer.output, y, stride);
            let context = scratch.context.as_ptr();
            layer.output.run(context, context_stride, panels, place, |_, _, _| ());
        }
        self.normalise::<MR>(scratch, panels, &layer.attention_norm);
        let inner_stride = layer.inner.columns() * MR;
        let inner = scratch.inner.as_mut_ptr();
        // SAFETY: as above.
        unsafe {
            let place = columns(&layer.inner, inner, inner_stride);
            let size = layer.inner.tile.nr * MR;
            layer.inner.run(scratch.x.as_ptr(), stride, panels, place, |p, first, end| {
                let start = inner.add(p * inner_stride + first * size);
                let stored = std::slice::from_raw_parts_mut(start, (end - first) * size);
                passes::gelu(level, stored);
            });
            let place = columns(&layer.outer, y, stride);
            layer.outer.run(inner, inner_stride, panels, place, |_, _, _| ());
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
        tokens: usize,
        mask: &[f32],
    ) {
        let Sequence { panel, tokens: ref range, masked } = scratch.sequences[index];
        let keys = range.len();
        let mask = masked.then(|| {
            let values = scratch.mask.iter_mut().zip(&scratch.tokens[range.clone()]);
            for (value, token) in values {
                *value = mask[*token];
            }
            &scratch.mask[..keys]
        });
        let tile = &layer.qkv.tile;
        let (nr, head) = (tile.nr, layer.head);
        let queries = layer.query_panels();
        let qk_stride = 2 * queries * nr * MR;
        let context_stride = layer.context_width() * MR;
        let panels = keys.div_ceil(MR);
        let mut scale = [0.0; MR];
        for h in 0..layer.heads {
            let q = panel * qk_stride + h * head * MR;
            let k = q + queries * nr * MR;
            for key in 0..keys.next_multiple_of(nr) {
                let to = scratch.packed[key / nr * head * nr + key % nr..].iter_mut();
                let to = to.step_by(nr).take(head);
                if key < keys {
                    let from = &scratch.qk[k + key / MR * qk_stride + key % MR..];
                    for (to, from) in to.zip(from.iter().step_by(MR)) {
                        *to = *from;
                    }
                } else {
                    to.for_each(|to| *to = 0.0);
                }
            }
            for p in 0..panels {
                // SAFETY: within buffers made for the largest layer and longest sequence.
                unsafe {
                    let query = scratch.qk.as_ptr().add(q + p * qk_stride);
                    for j in 0..keys.div_ceil(nr) {
                        let key = scratch.packed.as_ptr().add(j * head * nr);
                        let start = scratch.scores.as_mut_ptr().add(j * nr * MR);
                        let place = Place { start, row: 1, column: MR };
                        tile.run(head, query, key, Epilogue::None, place);
                    }
                    let scores = &mut scratch.scores[..keys * MR];
                    passes::softmax::<MR>(self.level, scores, mask, &mut scale);
                    let context = scratch.context.as_mut_ptr();
                    let context = context.add((panel + p) * context_stride + h * head * MR);
                    for j in 0..layer.value_panels() {
                        let value = (h * layer.value_panels() + j) * tokens + panel * MR;
                        let value = scratch.v.as_ptr().add(value * nr);
                        let start = context.add(j * nr * MR);
                        let place = Place { start, row: 1, column: MR };
                        let epilogue = Epilogue::MultiplyRows(scale.as_ptr());
                        tile.run(keys, scratch.scores.as_ptr(), value, epilogue, place);
                    }
                }
            }
        }
    }
}

impl Layer {
    fn new(parts: &LayerParts, hidden: usize, tiles: &[Tile]) -> Self {
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
        Self {
            heads: parts.heads,
            head,
            qkv: Product::new(tiles[0].clone(), hidden, &columns),
            output: Product::linear(tiles[1].clone(), &parts.output),
            attention_norm: parts.attention_norm.clone(),
            inner: Product::linear(tiles[2].clone(), &parts.inner),
            outer: Product::linear(tiles[3].clone(), &parts.outer),
            norm: parts.norm.clone(),
        }
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
    tokens: std::ops::Range<usize>,
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
}

impl Scratch {
    /// Decides which tokens are computed and where; returns the number of panels.
    fn place(&mut self, mask: &[f32], length: usize, mr: usize, keep_padding: bool) -> usize {
        /// What is added to a score at most where a token is padding: its share is then zero.
        const PADDING: f32 = -1000.0;
        self.sequences.clear();
        self.tokens.clear();
        let mut panel = 0;
        for (row, mask) in mask.chunks_exact(length).enumerate() {
            let first = self.tokens.len();
            // A first token that is padding is read by the pooler all the same.
            let plain = mask[0] == 0.0
                && mask.iter().all(|value| *value == 0.0 || *value <= PADDING)
                && !keep_padding;
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
