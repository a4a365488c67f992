//! Which examples make a batch: those of like lengths, so that little is padded.

use rand::seq::SliceRandom;

use crate::random::{Purpose, generator};

/// Batches whose examples are sorted by length together.
const SORTED_TOGETHER: usize = 50;

/// The batches of an epoch, each a list of examples by their numbers; `lengths` are those of all
/// examples. Every example is in one of them. They depend on seed and epoch only.
pub(super) fn batches(lengths: &[usize], size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut rng = generator(seed, Purpose::Order, epoch);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.shuffle(&mut rng);
    for part in order.chunks_mut(size * SORTED_TOGETHER) {
        part.sort_by_key(|row| lengths[*row]);
    }
    let mut batches: Vec<Vec<usize>> = order.chunks(size).map(<[usize]>::to_vec).collect();
    batches.shuffle(&mut rng);
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_in_one_batch_with_others_of_its_length() {
        let lengths: Vec<usize> = (0..1003).map(|row| 3 + (row * 7919) % 60).collect();
        let all = batches(&lengths, 8, 1, 0);
        assert_eq!(all.len(), 126);
        let mut rows = all.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..1003).collect::<Vec<_>>());
        let padded = |batches: &[Vec<usize>]| -> usize {
            let longest = |batch: &Vec<usize>| batch.iter().map(|row| lengths[*row]).max();
            batches.iter().map(|batch| batch.len() * longest(batch).unwrap_or(0)).sum()
        };
        let real: usize = lengths.iter().sum();
        assert!(padded(&all) < real * 115 / 100, "{} for {real}", padded(&all));
        assert_eq!(all, batches(&lengths, 8, 1, 0));
        assert_ne!(all, batches(&lengths, 8, 1, 1));
        assert_ne!(all, batches(&lengths, 8, 2, 0));
    }
}
