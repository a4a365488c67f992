//! Masking for masked language modelling (BERT, section 3.1): 15 % of a sequence's tokens
//! are to be predicted; of those 80 % are masked, 10 % become a random token, 10 % stay.

use std::ops::Range;

use atb_text::{Encoded, Specials};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

const SHARE: f64 = 0.15;

/// A masked batch and what is to be predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Masked {
    pub(crate) batch: Encoded,
    /// Where, in `[batch * sequence]`, ascending.
    pub(crate) positions: Vec<u32>,
    /// The true token ids there.
    pub(crate) labels: Vec<u32>,
}

impl Masked {
    /// Some of the rows.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let length = self.batch.sequence;
        let first = (rows.start * length) as u32;
        let place = |row: usize| self.positions.partition_point(|at| (*at as usize) < row * length);
        let chosen = place(rows.start)..place(rows.end);
        Self {
            batch: self.batch.rows(rows),
            positions: self.positions[chosen.clone()].iter().map(|at| at - first).collect(),
            labels: self.labels[chosen].to_vec(),
        }
    }
}

/// Masks a batch; special tokens and padding are never chosen. A row with any other token
/// gets at least one.
pub(crate) fn mask(
    batch: &Encoded,
    specials: &Specials,
    vocabulary_size: usize,
    rng: &mut ChaCha8Rng,
) -> Masked {
    let mut masked = Masked { batch: batch.clone(), positions: Vec::new(), labels: Vec::new() };
    let never = [specials.start, specials.separator, specials.padding];
    for row in 0..batch.batch {
        let mut candidates: Vec<usize> = (row * batch.sequence..(row + 1) * batch.sequence)
            .filter(|i| batch.attention_mask[*i] != 0 && !never.contains(&batch.input_ids[*i]))
            .collect();
        if candidates.is_empty() {
            continue;
        }
        let count = ((candidates.len() as f64 * SHARE).round() as usize).max(1);
        let (chosen, _) = candidates.partial_shuffle(rng, count);
        chosen.sort_unstable();
        for &mut position in chosen {
            let id = &mut masked.batch.input_ids[position];
            masked.positions.push(position as u32);
            masked.labels.push(*id as u32);
            *id = match rng.random_range(0..10_u32) {
                0 => i64::from(rng.random_range(0..vocabulary_size as u32)),
                1 => *id,
                _ => specials.mask,
            };
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    #[test]
    fn fifteen_percent_are_chosen_and_eighty_of_them_masked() {
        let specials = Specials { padding: 0, start: 101, separator: 102, mask: 103 };
        let (rows, sequence) = (400, 102);
        let row: Vec<i64> =
            std::iter::once(101).chain(1000..1080).chain([102]).chain([0; 20]).collect();
        let batch = Encoded {
            batch: rows,
            sequence,
            input_ids: row.repeat(rows),
            attention_mask: row
                .iter()
                .map(|id| i64::from(*id != 0))
                .collect::<Vec<_>>()
                .repeat(rows),
            token_type_ids: vec![0; rows * sequence],
        };
        let draw =
            |index| mask(&batch, &specials, 30_522, &mut generator(5, Purpose::Masking, index));
        let masked = draw(0);
        assert_eq!(masked, draw(0), "the same from the same seed");
        assert_ne!(masked, draw(1));

        // 12 of the 80 tokens of every row.
        assert_eq!(masked.positions.len(), rows * 12);
        assert!(masked.positions.windows(2).all(|pair| pair[0] < pair[1]));
        let (mut as_mask, mut kept) = (0, 0);
        for (position, label) in masked.positions.iter().zip(&masked.labels) {
            let (before, after) =
                (batch.input_ids[*position as usize], masked.batch.input_ids[*position as usize]);
            assert_eq!(before, i64::from(*label));
            assert!((1000..1080).contains(&before), "special token {before} was chosen");
            as_mask += usize::from(after == 103);
            kept += usize::from(after == before);
        }
        let share = |count: usize| count as f64 / masked.positions.len() as f64;
        assert!((share(as_mask) - 0.8).abs() < 0.02, "{as_mask} masked");
        assert!((share(kept) - 0.1).abs() < 0.02, "{kept} kept");
        let changed =
            batch.input_ids.iter().zip(&masked.batch.input_ids).filter(|(a, b)| a != b).count();
        assert_eq!(changed, masked.positions.len() - kept, "nothing else changed");
    }
}
