//! Memory of a run, and which token lies where in it.

use std::ops::Range;

use super::buffer::Buffer;
use super::layer::Layer;
use super::parts::PADDING;

/// One sequence's place among the panels.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) panel: usize,
    /// Which of [`Scratch::tokens`].
    pub(super) tokens: Range<usize>,
    /// Whether the mask is to be added to the scores.
    pub(super) masked: bool,
}

/// Memory of a run, kept for the next.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    pub(super) sequences: Vec<Sequence>,
    pub(super) tokens: Vec<usize>,
    pub(super) mask: Buffer,
    pub(super) x: Buffer,
    pub(super) y: Buffer,
    pub(super) qk: Buffer,
    pub(super) v: Buffer,
    pub(super) packed: Buffer,
    pub(super) scores: Buffer,
    pub(super) context: Buffer,
    pub(super) inner: Buffer,
    /// Queries of the first tokens.
    pub(super) first: Buffer,
}

impl Scratch {
    /// Memory for the largest of `layers` and the longest text; `width` is the padded hidden
    /// size.
    pub(super) fn new(
        layers: &[Layer],
        (batch, sequence): (usize, usize),
        mr: usize,
        width: usize,
    ) -> Self {
        let panels = batch * sequence.div_ceil(mr);
        let tokens = panels * mr;
        let most = |size: &dyn Fn(&Layer) -> usize| {
            Buffer::new(layers.iter().map(size).max().unwrap_or(0))
        };
        let keys = |layer: &Layer| sequence.next_multiple_of(layer.qkv.tile.nr);
        Self {
            sequences: Vec::with_capacity(batch),
            tokens: Vec::with_capacity(batch * sequence),
            mask: Buffer::new(sequence),
            x: Buffer::new(tokens * width),
            y: Buffer::new(tokens * width),
            qk: most(&|layer| 2 * layer.query_panels() * layer.qkv.tile.nr * tokens),
            v: most(&|layer| layer.heads * layer.value_panels() * layer.qkv.tile.nr * tokens),
            packed: most(&|layer| keys(layer) * layer.head),
            scores: most(&|layer| keys(layer) * mr),
            context: most(&|layer| layer.context_width() * tokens),
            inner: most(&|layer| {
                // The first tokens' context is put here too, a head at a time.
                let head = layer.value_panels() * layer.qkv.tile.nr * mr;
                head.max(layer.inner.columns() * tokens)
            }),
            first: most(&|layer| {
                layer.query_panels() * layer.qkv.tile.nr * batch.next_multiple_of(mr)
            }),
        }
    }

    /// Takes the mask of a sequence's tokens together; whether it is to be added to the scores.
    pub(super) fn gather_mask(&mut self, index: usize, mask: &[f32]) -> bool {
        let Sequence { tokens: ref range, masked, .. } = self.sequences[index];
        if masked {
            let values = self.mask.iter_mut().zip(&self.tokens[range.clone()]);
            values.for_each(|(value, token)| *value = mask[*token]);
        }
        masked
    }

    /// Packs the keys of head `h` of one sequence as the kernel takes its right operand.
    pub(super) fn pack_keys<const MR: usize>(&mut self, layer: &Layer, index: usize, h: usize) {
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
    pub(super) fn place(&mut self, mask: &[f32], length: usize, mr: usize, all: bool) -> usize {
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
