//! What a model is fine-tuned on.

use atb_text::Encoded;

/// An example as token ids, special ones included, without padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Ids into the vocabulary.
    pub ids: Vec<i64>,
    /// Zero for the first text, one for the second.
    pub types: Vec<i64>,
    /// What is right.
    pub target: Target,
    /// A teacher's logits, where it is distilled from one: one for each label, the score, or the
    /// begin's and then the end's of every token.
    pub teacher: Option<Vec<f32>>,
}

/// What is right for an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A label, by its number among the head's.
    Label(usize),
    /// A number.
    Score(f32),
    /// The tokens that an answer begins and ends with.
    Span {
        /// The first.
        start: usize,
        /// The last.
        end: usize,
    },
}

/// Rows as a batch, each padded to the longest.
pub(super) fn batch_of(rows: &[&Row], padding: i64) -> Encoded {
    let sequence = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    let padded = |values: &dyn Fn(&Row) -> Vec<i64>, padding: i64| -> Vec<i64> {
        let of_row = |row: &&Row| {
            let mut values = values(row);
            values.resize(sequence, padding);
            values
        };
        rows.iter().flat_map(of_row).collect()
    };
    Encoded {
        batch: rows.len(),
        sequence,
        input_ids: padded(&|row| row.ids.clone(), padding),
        attention_mask: padded(&|row| vec![1; row.ids.len()], 0),
        token_type_ids: padded(&|row| row.types.clone(), 0),
    }
}
