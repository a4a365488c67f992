//! Token ids of a batch, padded to one sequence length.

use std::ops::Range;

/// A tokenized batch: three row-major `[batch, sequence]` arrays, as BERT takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Number of rows.
    pub batch: usize,
    /// Tokens a row, special tokens and padding included.
    pub sequence: usize,
    /// Ids into the vocabulary.
    pub input_ids: Vec<i64>,
    /// 1 for a real token (special ones included), 0 for padding; padding comes last.
    pub attention_mask: Vec<i64>,
    /// 0 for the first text of a pair, 1 for the second.
    pub token_type_ids: Vec<i64>,
}

impl Encoded {
    /// Tokens that are not padding.
    #[must_use]
    pub fn real_tokens(&self) -> usize {
        self.attention_mask.iter().filter(|mask| **mask != 0).count()
    }

    /// The same rows in batches of at most `rows`, each cut to its own longest row.
    ///
    /// Padding is masked in every computation, so cutting it changes nothing but the time.
    ///
    /// # Panics
    /// If `rows` is zero.
    #[must_use]
    pub fn split_trimmed(&self, rows: usize) -> Vec<Encoded> {
        assert!(rows > 0, "a batch needs at least one row");
        let starts = (0..self.batch).step_by(rows);
        starts.map(|start| self.trimmed_rows(start, (start + rows).min(self.batch))).collect()
    }

    /// Some of the rows, as long as they are here.
    ///
    /// # Panics
    /// If there are fewer rows.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> Encoded {
        let values = rows.start * self.sequence..rows.end * self.sequence;
        Encoded {
            batch: rows.len(),
            sequence: self.sequence,
            input_ids: self.input_ids[values.clone()].to_vec(),
            attention_mask: self.attention_mask[values.clone()].to_vec(),
            token_type_ids: self.token_type_ids[values].to_vec(),
        }
    }

    fn trimmed_rows(&self, start: usize, end: usize) -> Encoded {
        let row_masks = self.attention_mask[start * self.sequence..end * self.sequence]
            .chunks_exact(self.sequence);
        let longest = row_masks
            .map(|mask| mask.iter().rposition(|m| *m != 0).map_or(0, |last| last + 1))
            .max()
            .unwrap_or(0)
            .max(1);
        let cut = |values: &[i64]| -> Vec<i64> {
            values[start * self.sequence..end * self.sequence]
                .chunks_exact(self.sequence)
                .flat_map(|row| &row[..longest])
                .copied()
                .collect()
        };
        Encoded {
            batch: end - start,
            sequence: longest,
            input_ids: cut(&self.input_ids),
            attention_mask: cut(&self.attention_mask),
            token_type_ids: cut(&self.token_type_ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_cuts_padding_and_keeps_every_real_token() {
        let whole = Encoded {
            batch: 3,
            sequence: 4,
            input_ids: vec![1, 2, 0, 0, 3, 4, 5, 0, 6, 0, 0, 0],
            attention_mask: vec![1, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0],
            token_type_ids: vec![0; 12],
        };
        let parts = whole.split_trimmed(2);
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].batch, parts[0].sequence), (2, 3));
        assert_eq!(parts[0].input_ids, [1, 2, 0, 3, 4, 5]);
        assert_eq!((parts[1].batch, parts[1].sequence), (1, 1));
        assert_eq!(parts[1].input_ids, [6]);
        assert_eq!(parts.iter().map(Encoded::real_tokens).sum::<usize>(), whole.real_tokens());
    }
}
