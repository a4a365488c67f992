//! The values of one batch, in and out.

use crate::{ATTENTION_MASK, INPUT_IDS, Meaning, OutputSpec, TOKEN_TYPE_IDS};

/// Token ids, mask and types of one batch, each row by row of `batch * sequence` values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Token ids.
    pub input_ids: Vec<i64>,
    /// One for tokens, zero for padding.
    pub attention_mask: Vec<i64>,
    /// Zero for the first text, one for the second.
    pub token_type_ids: Vec<i64>,
}

impl Inputs {
    /// A batch of tokens without padding, all of the first type.
    #[must_use]
    pub fn of_ids(input_ids: Vec<i64>) -> Self {
        let length = input_ids.len();
        Self { input_ids, attention_mask: vec![1; length], token_type_ids: vec![0; length] }
    }

    /// The values under the names of [`INPUTS`](crate::INPUTS), in that order.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &[i64]); 3] {
        [
            (INPUT_IDS, &self.input_ids),
            (ATTENTION_MASK, &self.attention_mask),
            (TOKEN_TYPE_IDS, &self.token_type_ids),
        ]
    }
}

/// What a model file says of one of its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OutputShape {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl OutputShape {
    /// What its values stand for; `None` for an output that is not of [`HEADS`](crate::HEADS).
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        OutputSpec::of(&self.name, self.shape.len()).map(|output| output.meaning)
    }
}

/// One output of one batch.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row by row.
    pub values: Vec<f32>,
}

impl Output {
    /// What its values stand for; `None` for an output that is not of [`HEADS`](crate::HEADS).
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        OutputSpec::of(&self.name, self.shape.len()).map(|output| output.meaning)
    }

    /// What it says of the batch's text `row`.
    #[must_use]
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        let width = self.values.len().checked_div(*self.shape.first()?)?;
        self.values.get(row * width..(row + 1) * width)
    }
}

/// What a model says about one batch.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Outputs(pub Vec<Output>);

impl Outputs {
    /// The output of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Output> {
        self.0.iter().find(|output| output.name == name)
    }

    /// The values of the output of this meaning.
    #[must_use]
    pub fn meaning(&self, meaning: Meaning) -> Option<&Output> {
        self.0.iter().find(|output| output.meaning() == Some(meaning))
    }

    /// The vector of the batch's text `row`: its embedding, where the model gives one, else the
    /// mean of its last hidden state over the tokens that are not padding. `None` if the model
    /// gives neither.
    ///
    /// `attention_mask` is that of the inputs.
    #[must_use]
    pub fn vector(&self, row: usize, attention_mask: &[i64]) -> Option<Vec<f32>> {
        if let Some(embedding) = self.meaning(Meaning::Embedding) {
            return embedding.row(row).map(<[f32]>::to_vec);
        }
        let states = self.meaning(Meaning::TokenStates)?;
        let sequence = attention_mask.len().checked_div(*states.shape.first()?)?;
        if sequence == 0 {
            return None;
        }
        let mask = attention_mask.get(row * sequence..(row + 1) * sequence)?;
        Some(mean(states.row(row)?, mask))
    }

    /// Takes out what the outputs say of padding, which means nothing and differs from engine to
    /// engine: the states and logits of those tokens become zero, and the scores of a span that
    /// begins or ends there the lowest number there is, so that none does.
    ///
    /// `attention_mask` is that of the inputs. Outputs that are not by token stay as they are.
    pub fn blank_padding(&mut self, attention_mask: &[i64]) {
        for output in &mut self.0 {
            let Some(spec) = OutputSpec::of(&output.name, output.shape.len()) else { continue };
            let tokens = attention_mask.len();
            if !spec.is_by_token() || tokens == 0 || output.values.len() % tokens != 0 {
                continue;
            }
            let blank = match spec.meaning {
                Meaning::SpanStart | Meaning::SpanEnd => f32::MIN,
                _ => 0.0,
            };
            let width = (output.values.len() / tokens).max(1);
            for (values, real) in output.values.chunks_exact_mut(width).zip(attention_mask) {
                if *real == 0 {
                    values.fill(blank);
                }
            }
        }
    }

    /// The largest absolute difference between any value of these outputs and the one of the
    /// same name and place in `other`, which may have further outputs.
    ///
    /// NaN where `other` lacks an output or has it in another shape, and where either side
    /// has a NaN: such outputs are never the same.
    #[must_use]
    pub fn largest_difference(&self, other: &Outputs) -> f32 {
        let of_values =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, larger);
        self.difference(other, of_values)
    }

    /// The length of the difference from the output of the same name in `other`, relative to that
    /// one's length; the largest of all outputs. What was blanked counts for neither.
    ///
    /// NaN as [`Outputs::largest_difference`] is.
    #[must_use]
    pub fn relative_difference(&self, other: &Outputs) -> f32 {
        let of_values = |a: &[f32], b: &[f32]| {
            let (mut difference, mut length) = (0.0, 0.0);
            for (a, b) in a.iter().zip(b).filter(|(a, b)| (**a, **b) != (f32::MIN, f32::MIN)) {
                difference += (f64::from(*a) - f64::from(*b)).powi(2);
                length += f64::from(*b).powi(2);
            }
            if difference == 0.0 { 0.0 } else { (difference / length).sqrt() as f32 }
        };
        self.difference(other, of_values)
    }

    fn difference(&self, other: &Outputs, of_values: impl Fn(&[f32], &[f32]) -> f32) -> f32 {
        let of_output = |output: &Output| {
            let same = |other: &&Output| other.name == output.name && other.shape == output.shape;
            let same = other.0.iter().find(same);
            same.map_or(f32::NAN, |same| of_values(&output.values, &same.values))
        };
        self.0.iter().map(of_output).fold(0.0, larger)
    }
}

/// The larger of two differences; one that is no number is the largest of all.
#[must_use]
pub fn larger(one: f32, other: f32) -> f32 {
    if one.is_nan() || other <= one { one } else { other }
}

/// The mean of a text's states over the tokens that are not padding.
fn mean(states: &[f32], mask: &[i64]) -> Vec<f32> {
    let hidden = states.len() / mask.len();
    let mut vector = vec![0.0; hidden];
    let mut tokens = 0.0;
    for (state, _) in states.chunks_exact(hidden).zip(mask).filter(|(_, real)| **real != 0) {
        tokens += 1.0;
        vector.iter_mut().zip(state).for_each(|(sum, value)| *sum += value);
    }
    vector.iter_mut().for_each(|sum| *sum /= tokens);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(values: &[(&str, &[f32])]) -> Outputs {
        let output = |(name, values): &(&str, &[f32])| Output {
            name: (*name).to_owned(),
            shape: vec![1, values.len()],
            values: values.to_vec(),
        };
        Outputs(values.iter().map(output).collect())
    }

    #[test]
    fn padding_is_blank_in_outputs_by_token_only() {
        let output = |name: &str, shape: &[usize]| {
            let values = vec![3.0; shape.iter().product()];
            Output { name: name.to_owned(), shape: shape.to_vec(), values }
        };
        let mut outputs = Outputs(vec![
            output("last_hidden_state", &[2, 2, 2]),
            output("start_logits", &[2, 2]),
            output("pooler_output", &[2, 2]),
            output("logits", &[2, 2]),
            output("something_else", &[2, 2, 2]),
        ]);
        outputs.blank_padding(&[1, 0, 1, 1]);
        let values: Vec<&[f32]> = outputs.0.iter().map(|output| &*output.values).collect();
        assert_eq!(values[0], [3.0, 3.0, 0.0, 0.0, 3.0, 3.0, 3.0, 3.0]);
        assert_eq!(values[1], [3.0, f32::MIN, 3.0, 3.0]);
        assert_eq!(values[2..], [&[3.0; 4][..], &[3.0; 4], &[3.0; 8]]);
    }

    #[test]
    fn a_texts_vector_is_its_embedding_or_the_mean_of_its_real_tokens() {
        let output = |name: &str, shape: &[usize], values: &[f32]| Output {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let states =
            output("last_hidden_state", &[2, 2, 2], &[1.0, 2.0, 3.0, 6.0, 5.0, 7.0, 0.0, 9.0]);
        let mask = [1, 1, 1, 0];
        let mut outputs = Outputs(vec![states]);
        assert_eq!(outputs.vector(0, &mask), Some(vec![2.0, 4.0]));
        assert_eq!(outputs.vector(1, &mask), Some(vec![5.0, 7.0]));
        assert_eq!(outputs.vector(2, &mask), None);
        outputs.0.push(output("sentence_embedding", &[2, 1], &[8.0, 9.0]));
        assert_eq!(outputs.vector(1, &mask), Some(vec![9.0]));
        assert_eq!(Outputs::default().vector(0, &mask), None);
    }

    #[test]
    fn differences_are_found_and_nan_is_never_equal() {
        let one = outputs(&[("a", &[1.0, 2.0])]);
        assert_eq!(one.largest_difference(&one), 0.0);
        assert_eq!(one.largest_difference(&outputs(&[("a", &[1.0, 2.5])])), 0.5);
        let more = outputs(&[("b", &[9.0]), ("a", &[1.0, 2.0])]);
        assert_eq!(one.largest_difference(&more), 0.0);
        assert!(more.largest_difference(&one).is_nan());
        assert!(one.largest_difference(&outputs(&[("a", &[1.0, f32::NAN])])).is_nan());
        assert!(one.largest_difference(&outputs(&[("a", &[1.0])])).is_nan());
    }

    #[test]
    fn relative_differences_are_of_lengths() {
        let one = outputs(&[("a", &[3.0, 4.0]), ("b", &[0.0, 2.0])]);
        assert_eq!(one.relative_difference(&one), 0.0);
        let other = outputs(&[("a", &[3.0, 3.5]), ("b", &[0.0, 2.0])]);
        let relative = other.relative_difference(&one);
        assert!((relative - 0.1).abs() < 1e-7, "{relative}");
        let blanked = |value| outputs(&[("a", &[value, f32::MIN])]);
        assert_eq!(blanked(3.0).relative_difference(&blanked(2.0)), 0.5);
        assert!(one.relative_difference(&outputs(&[("a", &[3.0, 4.0])])).is_nan());
        assert!(
            outputs(&[("a", &[f32::NAN])]).relative_difference(&outputs(&[("a", &[1.0])])).is_nan()
        );
    }
}
