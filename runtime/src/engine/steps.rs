//! The steps of a run on some of the panels, as each of its threads does them.
//!
//! A step writes to its own panels alone. What it reads of others', the keys and values of the
//! layer whose attention it computes, nobody writes meanwhile.

use std::ops::Range;

use super::kernels::Epilogue;
use super::layer::{Layer, Stack};
use super::memory::{Own, Shared};
use super::passes::{self, Norm};
use super::places::{Places, Sequence};
use super::product::{Operand, Product};
use super::shared::{Part, Place};

/// One run, in panels of `MR` tokens.
pub(super) struct Steps<'a, const MR: usize> {
    pub(super) stack: &'a Stack,
    pub(super) places: &'a Places,
    pub(super) shared: Shared<'a>,
    /// `[batch, sequence, hidden]`.
    pub(super) x: &'a [f32],
    /// Added to the scores of each key.
    pub(super) mask: &'a [f32],
    /// As `x`, zeros.
    pub(super) output: Part<'a>,
}

/// Where a product's tiles go that lie in panels as its operand does.
fn columns<const MR: usize>(
    product: &Product,
    to: Part<'_>,
    stride: usize,
) -> impl Fn(usize, usize) -> Place {
    let size = product.unit * MR;
    move |p, j| Place { start: to.at(p * stride + j * size), row: 1, column: MR }
}

impl<const MR: usize> Steps<'_, MR> {
    /// Values of a panel of hidden states.
    fn stride(&self) -> usize {
        self.stack.width * MR
    }

    /// Panels of tokens for a product.
    fn operand<'a>(&'a self, panels: Part<'a>, stride: usize) -> Operand<'a> {
        let Stack { rounded: rounded_stride, level, .. } = *self.stack;
        let rounded = self.shared.rounded;
        Operand { panels: panels.at(0), stride, rounded, rounded_stride, level }
    }

    /// The tokens of each of these panels, at most `MR`.
    fn tokens(&self, panels: Range<usize>) -> impl Iterator<Item = (usize, &[usize])> {
        let places = self.places;
        places.sequences.iter().flat_map(move |sequence| {
            let all = sequence.panels(MR);
            let own = panels.start.max(all.start)..panels.end.min(all.end);
            own.map(move |panel| {
                let first = sequence.tokens.start + (panel - all.start) * MR;
                (panel, &places.tokens[first..sequence.tokens.end.min(first + MR)])
            })
        })
    }

    /// Hidden states into their panels.
    pub(super) fn enter(&self, panels: Range<usize>) {
        let hidden = self.stack.hidden;
        for (panel, tokens) in self.tokens(panels) {
            // SAFETY: a panel of this thread's own.
            let values =
                unsafe { self.shared.x.slice(panel * self.stride()..(panel + 1) * self.stride()) };
            if tokens.len() < MR {
                // What is left of an earlier run could be anything.
                values.fill(0.0);
            }
            for (lane, token) in tokens.iter().enumerate() {
                let row = &self.x[token * hidden..][..hidden];
                for (to, from) in values[lane..].iter_mut().step_by(MR).zip(row) {
                    *to = *from;
                }
            }
        }
    }

    /// Hidden states out of their panels.
    pub(super) fn leave(&self, panels: Range<usize>) {
        for (panel, tokens) in self.tokens(panels) {
            for (lane, token) in tokens.iter().enumerate() {
                self.store(panel, lane, *token);
            }
        }
    }

    /// The hidden states of the first tokens, one sequence a lane, out of the first panels.
    pub(super) fn leave_first(&self) {
        for row in 0..self.places.sequences.len() {
            self.store(row / MR, row % MR, row * self.stack.sequence);
        }
    }

    fn store(&self, panel: usize, lane: usize, token: usize) {
        let hidden = self.stack.hidden;
        // SAFETY: panels of this thread's own, and the rows of their tokens.
        let (from, row) = unsafe {
            let start = panel * self.stride();
            (
                self.shared.x.slice(start..start + self.stride()),
                self.output.slice(token * hidden..(token + 1) * hidden),
            )
        };
        row.iter_mut().zip(from[lane..].iter().step_by(MR)).for_each(|(to, from)| *to = *from);
    }

    /// Those queries, keys and values of layer `number` that lie in `range` of its weights'
    /// panels.
    pub(super) fn project(&self, number: usize, panels: Range<usize>, range: Range<usize>) {
        let layer = &self.stack.layers[number];
        let tokens = self.places.panels * MR;
        let nr = layer.qkv.tile.nr;
        let queries = layer.query_panels();
        let qk_stride = 2 * queries * nr * MR;
        let (qk, v) = (self.shared.qk[number % 2], self.shared.v[number % 2]);
        let place = |p: usize, j: usize| {
            if j < 2 * queries {
                Place { start: qk.at(p * qk_stride + j * nr * MR), row: 1, column: MR }
            } else {
                let start = v.at(((j - 2 * queries) * tokens + p * MR) * nr);
                Place { start, row: nr, column: 1 }
            }
        };
        // SAFETY: the buffers are as large as this layer needs for every panel there can be, and
        // these panels are this thread's own.
        unsafe {
            let x = self.operand(self.shared.x, self.stride());
            layer.qkv.run::<MR>(x, panels, range, place, |_, _| ());
        }
    }

    /// From the context to the layer's output, in place of its input.
    pub(super) fn after_attention(&self, number: usize, panels: Range<usize>) {
        let Layer { output, inner, outer, attention_norm, norm, .. } = &self.stack.layers[number];
        let Shared { x, y, context, inner: activated, .. } = self.shared;
        let stride = self.stride();
        let context_stride = self.stack.layers[number].context_width() * MR;
        // SAFETY: as for the projections.
        unsafe {
            let place = columns::<MR>(output, y, stride);
            let (all, panels) = (output.all(), panels.clone());
            let context = self.operand(context, context_stride);
            output.run::<MR>(context, panels, all, place, |_, _| ());
        }
        self.normalise(panels.clone(), attention_norm);
        let inner_stride = inner.columns() * MR;
        // SAFETY: as above.
        unsafe {
            let place = columns::<MR>(inner, activated, inner_stride);
            let x = self.operand(x, stride);
            inner.run::<MR>(x, panels.clone(), inner.all(), place, |p, columns| {
                let start = p * inner_stride;
                let stored = activated.slice(start + columns.start * MR..start + columns.end * MR);
                passes::gelu(self.stack.level, stored);
            });
            let place = columns::<MR>(outer, y, stride);
            let (all, panels) = (outer.all(), panels.clone());
            let activated = self.operand(activated, inner_stride);
            outer.run::<MR>(activated, panels, all, place, |_, _| ());
        }
        self.normalise(panels, norm);
    }

    fn normalise(&self, panels: Range<usize>, norm: &Norm) {
        let stride = self.stride();
        for panel in panels {
            let range = panel * stride..(panel + 1) * stride;
            // SAFETY: a panel of this thread's own.
            let (x, y) =
                unsafe { (self.shared.x.slice(range.clone()), self.shared.y.slice(range)) };
            passes::layer_norm::<MR>(self.stack.level, x, y, norm);
        }
    }

    /// The contexts of these panels, sequence by sequence and head by head.
    pub(super) fn attention(&self, number: usize, own: &mut Own, panels: Range<usize>) {
        let layer = &self.stack.layers[number];
        let qk_stride = 2 * layer.query_panels() * layer.qkv.tile.nr * MR;
        let context_stride = layer.context_width() * MR;
        for sequence in &self.places.sequences {
            let all = sequence.panels(MR);
            let panels = panels.start.max(all.start)..panels.end.min(all.end);
            if panels.is_empty() {
                continue;
            }
            self.gather_mask(own, sequence);
            for h in 0..layer.heads {
                self.pack_keys(number, own, sequence, h);
                let at = h * layer.head * MR;
                for p in panels.clone() {
                    let query = self.shared.qk[number % 2].at(p * qk_stride + at);
                    let context = self.shared.context.at(p * context_stride + at);
                    // SAFETY: within buffers made for the largest layer and longest sequence,
                    // and panels of this thread's own.
                    unsafe { self.attend(number, own, (sequence, h), query, context) };
                }
            }
        }
    }

    /// The contexts of the first tokens, one sequence a lane; they take the places of the first
    /// tokens there are, in `x` as well. Of the whole run: no other thread is at work.
    pub(super) fn attention_of_first(&self, number: usize, own: &mut Own) {
        let layer = &self.stack.layers[number];
        let stride = self.stride();
        let rows = self.places.sequences.len();
        let of_first = rows.div_ceil(MR);
        let context_stride = layer.context_width() * MR;
        let (nr, queries) = (layer.qkv.tile.nr, layer.query_panels());
        let query_stride = queries * nr * MR;
        let Shared { x, y, context, first, .. } = self.shared;
        // SAFETY: this thread is the only one at work; the first panels of `x` and the panels of
        // the sequences are looked at one after the other.
        unsafe {
            let gathered = y.slice(0..of_first * stride);
            gathered.fill(0.0);
            for (row, sequence) in self.places.sequences.iter().enumerate() {
                let start = sequence.panel * stride;
                let from = x.slice(start..start + stride).iter().step_by(MR);
                let to = gathered[row / MR * stride + row % MR..].iter_mut().step_by(MR);
                to.zip(from).for_each(|(to, from)| *to = *from);
            }
            x.slice(0..of_first * stride).copy_from_slice(gathered);
            let place = |p: usize, j: usize| Place {
                start: first.at(p * query_stride + j * nr * MR),
                row: 1,
                column: MR,
            };
            let x = self.operand(x, stride);
            layer.qkv.run::<MR>(x, 0..of_first, 0..queries, place, |_, _| ());
            context.slice(0..of_first * context_stride).fill(0.0);
        }
        let mut lane = std::mem::take(&mut own.context);
        for (row, sequence) in self.places.sequences.iter().enumerate() {
            self.gather_mask(own, sequence);
            for h in 0..layer.heads {
                self.pack_keys(number, own, sequence, h);
                let at = h * layer.head * MR;
                // SAFETY: within buffers made for the largest layer and longest sequence; the
                // last one holds the context of a head.
                let to = unsafe {
                    let query = first.at(row / MR * query_stride + at);
                    self.attend(number, own, (sequence, h), query, lane.as_mut_ptr());
                    let start = row / MR * context_stride + at;
                    context.slice(start..start + layer.head * MR)
                };
                for at in (row % MR..layer.head * MR).step_by(MR) {
                    to[at] = lane[at];
                }
            }
        }
        own.context = lane;
    }

    /// Takes the mask of a sequence's tokens together.
    fn gather_mask(&self, own: &mut Own, sequence: &Sequence) {
        if sequence.masked {
            let tokens = &self.places.tokens[sequence.tokens.clone()];
            let values = own.mask.iter_mut().zip(tokens);
            values.for_each(|(value, token)| *value = self.mask[*token]);
        }
    }

    /// Packs the keys of head `h` of one sequence as the kernel takes its right operand.
    fn pack_keys(&self, number: usize, own: &mut Own, sequence: &Sequence, h: usize) {
        let layer = &self.stack.layers[number];
        let keys = sequence.tokens.len();
        let (nr, head, queries) = (layer.qkv.tile.nr, layer.head, layer.query_panels());
        let qk_stride = 2 * queries * nr * MR;
        let k = sequence.panel * qk_stride + queries * nr * MR + h * head * MR;
        let qk = self.shared.qk[number % 2];
        for key in 0..keys.next_multiple_of(nr) {
            let to = own.keys[key / nr * head * nr + key % nr..].iter_mut();
            let to = to.step_by(nr).take(head);
            if key < keys {
                let start = k + key / MR * qk_stride + key % MR;
                for (feature, to) in to.enumerate() {
                    // SAFETY: keys that every thread reads and none writes now.
                    *to = unsafe { *qk.at(start + feature * MR) };
                }
            } else {
                to.for_each(|to| *to = 0.0);
            }
        }
    }

    /// The context of one panel of queries among the keys of head `h` of a sequence, which are
    /// packed.
    ///
    /// # Safety
    /// `query` holds the queries of the head, `context` has room for its values, rounded up to
    /// whole tiles.
    unsafe fn attend(
        &self,
        number: usize,
        own: &mut Own,
        (sequence, h): (&Sequence, usize),
        query: *const f32,
        context: *mut f32,
    ) {
        let layer = &self.stack.layers[number];
        let keys = sequence.tokens.len();
        let tokens = self.places.panels * MR;
        let tile = &layer.qkv.tile;
        let (nr, head) = (tile.nr, layer.head);
        let mut scale = [0.0; MR];
        // SAFETY: as the caller promises; scores and packed keys are as long as any sequence.
        unsafe {
            for j in 0..keys.div_ceil(nr) {
                let key = own.keys.as_ptr().add(j * head * nr);
                let start = own.scores.as_mut_ptr().add(j * nr * MR);
                let place = Place { start, row: 1, column: MR };
                tile.run(head, query, key, Epilogue::None, place);
            }
            let scores = &mut own.scores[..keys * MR];
            let mask = sequence.masked.then(|| &own.mask[..keys]);
            passes::softmax::<MR>(self.stack.level, scores, mask, &mut scale);
            for j in 0..layer.value_panels() {
                let value = (h * layer.value_panels() + j) * tokens + sequence.panel * MR;
                let value = self.shared.v[number % 2].at(value * nr);
                let place = Place { start: context.add(j * nr * MR), row: 1, column: MR };
                let epilogue = Epilogue::MultiplyRows(scale.as_ptr());
                tile.run(keys, own.scores.as_ptr(), value, epilogue, place);
            }
        }
    }
}
