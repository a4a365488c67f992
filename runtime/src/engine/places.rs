//! Which token lies where among the panels.

use std::ops::Range;

use super::parts::PADDING;

/// One sequence's place among the panels.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) panel: usize,
    /// Which of [`Places::tokens`].
    pub(super) tokens: Range<usize>,
    /// Whether the mask is to be added to the scores.
    pub(super) masked: bool,
}

impl Sequence {
    /// Its panels of `mr` tokens.
    pub(super) fn panels(&self, mr: usize) -> Range<usize> {
        self.panel..self.panel + self.tokens.len().div_ceil(mr)
    }
}

/// The tokens that are computed, sequence by sequence; each sequence begins a panel.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) sequences: Vec<Sequence>,
    pub(super) tokens: Vec<usize>,
    pub(super) panels: usize,
}

impl Places {
    /// Room for a batch of sequences.
    pub(super) fn new(batch: usize, sequence: usize) -> Self {
        Self {
            sequences: Vec::with_capacity(batch),
            tokens: Vec::with_capacity(batch * sequence),
            panels: 0,
        }
    }

    /// Decides which tokens are computed, and where.
    pub(super) fn decide(&mut self, mask: &[f32], length: usize, mr: usize, all: bool) {
        self.sequences.clear();
        self.tokens.clear();
        self.panels = 0;
        for (row, mask) in mask.chunks_exact(length).enumerate() {
            let first = self.tokens.len();
            // A first token that is padding is read by the pooler all the same.
            let plain = mask[0] == 0.0
                && mask.iter().all(|value| *value == 0.0 || *value <= PADDING)
                && !all;
            let tokens = mask.iter().enumerate().filter(|(_, value)| !plain || **value == 0.0);
            self.tokens.extend(tokens.map(|(at, _)| row * length + at));
            let tokens = first..self.tokens.len();
            let sequence = Sequence { panel: self.panels, tokens, masked: !plain };
            self.panels = sequence.panels(mr).end;
            self.sequences.push(sequence);
        }
    }
}
