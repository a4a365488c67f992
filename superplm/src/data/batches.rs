//! The order in which training sees a dataset.

use atb_text::Encoded;
use rand::seq::SliceRandom;

use super::{Dataset, Layout};
use crate::random::{Purpose, generator};

/// Batches within which sequences that are padded are put together by length.
const WINDOW: usize = 64;

/// The batches of a dataset, epoch after epoch, each in an order of its own that depends on
/// seed and epoch only; so a position in the stream is all there is to remember.
///
/// Where sequences are packed, an epoch is every sequence once. Where they are padded, batches
/// are of sequences of about the same length and no longer than the longest of them, and what
/// makes no full batch is left out of its epoch.
pub(crate) struct Batches {
    dataset: Dataset,
    padding: i64,
    batch_size: usize,
    seed: u64,
    /// The epoch that `order` belongs to.
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Batches {
    pub(crate) fn new(dataset: Dataset, padding: i64, batch_size: usize, seed: u64) -> Self {
        Self { dataset, padding, batch_size, seed, epoch: None, order: Vec::new() }
    }

    /// The `number`-th batch of the stream.
    pub(crate) fn batch(&mut self, number: u64) -> Encoded {
        let size = self.batch_size;
        let mut batch = Encoded {
            batch: size,
            sequence: self.dataset.sequence_length(),
            input_ids: Vec::new(),
            attention_mask: Vec::new(),
            token_type_ids: Vec::new(),
        };
        let first = number * size as u64;
        let per_epoch = self.sequences_per_epoch();
        for position in first..first + size as u64 {
            self.shuffle(position / per_epoch);
            let index = self.order[(position % per_epoch) as usize] as usize;
            for id in self.dataset.sequence(index) {
                let id = i64::from(id);
                batch.input_ids.push(id);
                batch.attention_mask.push(i64::from(id != self.padding));
            }
        }
        batch.token_type_ids.resize(batch.input_ids.len(), 0);
        match self.dataset.layout() {
            Layout::Packed => batch,
            Layout::Paragraphs | Layout::Sentences => batch.split_trimmed(size).remove(0),
        }
    }

    fn sequences_per_epoch(&self) -> u64 {
        let (sequences, size) = (self.dataset.sequences(), self.batch_size);
        match self.dataset.layout() {
            Layout::Packed => sequences as u64,
            Layout::Paragraphs | Layout::Sentences if sequences < size => sequences as u64,
            Layout::Paragraphs | Layout::Sentences => (sequences / size * size) as u64,
        }
    }

    fn shuffle(&mut self, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        let mut rng = generator(self.seed, Purpose::Order, epoch);
        self.order = (0..self.dataset.sequences() as u32).collect();
        self.order.shuffle(&mut rng);
        if self.dataset.layout() != Layout::Packed {
            let mut sorted = Vec::with_capacity(self.order.len());
            for window in self.order.chunks_mut(WINDOW * self.batch_size) {
                window.sort_by_cached_key(|index| {
                    let ids = self.dataset.sequence(*index as usize);
                    ids.take_while(|id| i64::from(*id) != self.padding).count()
                });
                let mut batches: Vec<_> = window.chunks(self.batch_size).collect();
                // What makes no full batch stays at the end.
                let full = window.len() / self.batch_size;
                batches[..full].shuffle(&mut rng);
                sorted.extend(batches.concat());
            }
            self.order = sorted;
        }
        self.epoch = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use atb_text::Tokenizer;

    use super::*;
    use crate::data::prepare;

    #[test]
    fn sentences_of_a_length_come_together_each_once_an_epoch() {
        let root = tempfile::tempdir().expect("a folder");
        let text = root.path().join("text.txt");
        let mut lines = String::new();
        for length in 0..40 {
            writeln!(lines, "{} {}.", length + 1960, "x ".repeat(length % 10)).expect("fits");
        }
        std::fs::write(&text, lines).expect("writes");
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let folder = root.path().join("data");
        let data = prepare(&[text], &tokenizer, Layout::Sentences, 16, &folder, |_| {});
        let mut batches = Batches::new(data.expect("prepares"), 0, 4, 7);
        let mut seen = BTreeSet::new();
        for epoch in 0..2 {
            let mut real = Vec::new();
            seen.clear();
            for number in 0..10 {
                let batch = batches.batch(epoch * 10 + number);
                assert_eq!(batch.batch, 4);
                assert_eq!(batch.real_tokens(), batch.batch * batch.sequence, "of one length");
                real.push(batch.sequence);
                seen.extend(batch.input_ids.chunks(batch.sequence).map(|row| row[1]));
            }
            assert_eq!(seen.len(), 40, "every sentence once");
            assert!(!real.is_sorted(), "lengths are in no order: {real:?}");
        }
    }
}
