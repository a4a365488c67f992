//! The order in which training sees a dataset.

use atb_text::Encoded;
use rand::seq::SliceRandom;

use super::Dataset;
use crate::random::{Purpose, generator};

/// The sequences of a dataset, epoch after epoch, each in an order of its own that depends
/// on seed and epoch only; so a position in the stream is all there is to remember.
pub(crate) struct Batches {
    dataset: Dataset,
    padding: i64,
    seed: u64,
    /// The epoch that `order` belongs to.
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Batches {
    pub(crate) fn new(dataset: Dataset, padding: i64, seed: u64) -> Self {
        Self { dataset, padding, seed, epoch: None, order: Vec::new() }
    }

    /// `size` sequences from the `position`-th of the stream on.
    pub(crate) fn batch(&mut self, position: u64, size: usize) -> Encoded {
        let mut batch = Encoded {
            batch: size,
            sequence: self.dataset.sequence_length(),
            input_ids: Vec::new(),
            attention_mask: Vec::new(),
            token_type_ids: Vec::new(),
        };
        for position in position..position + size as u64 {
            let sequences = self.dataset.sequences() as u64;
            self.shuffle(position / sequences);
            let index = self.order[(position % sequences) as usize] as usize;
            for id in self.dataset.sequence(index) {
                let id = i64::from(id);
                batch.input_ids.push(id);
                batch.attention_mask.push(i64::from(id != self.padding));
            }
        }
        batch.token_type_ids.resize(batch.input_ids.len(), 0);
        batch
    }

    fn shuffle(&mut self, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        self.order = (0..self.dataset.sequences() as u32).collect();
        self.order.shuffle(&mut generator(self.seed, Purpose::Order, epoch));
        self.epoch = Some(epoch);
    }
}
