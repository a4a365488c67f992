//! Memory of a run, kept for the next: what its threads share, each writing to panels of its own,
//! and what each has for itself.

use super::buffer::Buffer;
use super::layer::{Layer, Stack};
use super::places::Places;
use super::shared::Part;

/// Memory of a run.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) places: Places,
    pub(super) own: Vec<Own>,
    x: Buffer,
    y: Buffer,
    /// Of this layer and of the next, which some threads begin while others end this one.
    qk: [Buffer; 2],
    v: [Buffer; 2],
    context: Buffer,
    inner: Buffer,
    first: Buffer,
    rounded: Buffer,
}

/// Memory of one thread.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// The mask of one sequence's tokens.
    pub(super) mask: Buffer,
    /// The keys of one head.
    pub(super) keys: Buffer,
    /// The scores of one panel.
    pub(super) scores: Buffer,
    /// The context of one head of one panel.
    pub(super) context: Buffer,
}

/// Memory that the threads of a run share. Tokens lie in panels, feature by feature.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    /// Hidden states.
    pub(super) x: Part<'a>,
    /// What is added to them.
    pub(super) y: Part<'a>,
    /// Queries and keys of a layer, by its number modulo two.
    pub(super) qk: [Part<'a>; 2],
    /// Its values, head by head.
    pub(super) v: [Part<'a>; 2],
    /// Contexts of all heads.
    pub(super) context: Part<'a>,
    /// Intermediate elements.
    pub(super) inner: Part<'a>,
    /// Queries of the first tokens.
    pub(super) first: Part<'a>,
    /// What a product takes, rounded; each panel in a place of its own.
    pub(super) rounded: Part<'a>,
}

/// Two buffers in turn, or always the second where there is no other.
fn by_turns([even, odd]: &mut [Buffer; 2]) -> [Part<'_>; 2] {
    let odd = Part::whole(odd);
    [if even.is_empty() { odd } else { Part::whole(even) }, odd]
}

impl Memory {
    /// Memory for the largest of the layers and the longest text, on so many threads.
    pub(super) fn new(
        Stack { layers, width, rounded, .. }: &Stack,
        (batch, sequence): (usize, usize),
        mr: usize,
        threads: usize,
    ) -> Self {
        let panels = batch * sequence.div_ceil(mr);
        let tokens = panels * mr;
        let largest = |size: &dyn Fn(&Layer) -> usize| layers.iter().map(size).max().unwrap_or(0);
        let most = |size: &dyn Fn(&Layer) -> usize| Buffer::new(largest(size));
        let keys = |layer: &Layer| sequence.next_multiple_of(layer.qkv.tile.nr);
        let qk = most(&|layer| 2 * layer.query_panels() * layer.qkv.tile.nr * tokens);
        let v = most(&|layer| layer.heads * layer.value_panels() * layer.qkv.tile.nr * tokens);
        let other = |one: &Buffer| Buffer::new(if threads > 1 { one.len() } else { 0 });
        let own = Own {
            mask: Buffer::new(sequence),
            keys: most(&|layer| keys(layer) * layer.head),
            scores: most(&|layer| keys(layer) * mr),
            context: most(&|layer| layer.value_panels() * layer.qkv.tile.nr * mr),
        };
        Self {
            places: Places::new(batch, sequence),
            own: vec![own; threads],
            x: Buffer::new(tokens * width),
            y: Buffer::new(tokens * width),
            qk: [other(&qk), qk],
            v: [other(&v), v],
            context: most(&|layer| layer.context_width() * tokens),
            inner: most(&|layer| layer.inner.columns() * tokens),
            first: most(&|layer| {
                layer.query_panels() * layer.qkv.tile.nr * batch.next_multiple_of(mr)
            }),
            rounded: Buffer::new(rounded * panels),
        }
    }

    /// What threads share, what each has for itself, and the places of the tokens.
    pub(super) fn split(&mut self) -> (Shared<'_>, &mut [Own], &Places) {
        let shared = Shared {
            x: Part::whole(&mut self.x),
            y: Part::whole(&mut self.y),
            qk: by_turns(&mut self.qk),
            v: by_turns(&mut self.v),
            context: Part::whole(&mut self.context),
            inner: Part::whole(&mut self.inner),
            first: Part::whole(&mut self.first),
            rounded: Part::whole(&mut self.rounded),
        };
        (shared, &mut self.own, &self.places)
    }
}
