//! One file a family of tasks: how its examples become inputs, and outputs outcomes.

pub(crate) mod classification;
pub(crate) mod regression;
pub(crate) mod retrieval;
pub(crate) mod similarity;
pub(crate) mod span;

use atb_interface::Meaning;
use atb_text::TextInput;

use crate::TaskError;
use crate::model::{Frequencies, Model, Wanted};
use crate::read::{Example, Split};
use crate::task::Task;

/// A model, what it is asked and how.
pub(crate) struct Asked<'a> {
    pub(crate) model: &'a Model,
    pub(crate) task: &'a Task,
    pub(crate) split: &'a Split,
    /// Most tokens of a text or pair.
    pub(crate) sequence: usize,
    pub(crate) frequencies: Option<&'a Frequencies>,
}

impl Asked<'_> {
    /// The logits of each example.
    fn logits(&self, examples: &[Example]) -> Result<Vec<Vec<f32>>, TaskError> {
        let longest = self.model.longest(self.sequence);
        let tokens = examples.iter().map(|example| {
            let first = example.first.as_str();
            let input = match &example.second {
                Some(second) => TextInput::Pair(first, second),
                None => TextInput::Single(first),
            };
            self.model.tokens(input, longest)
        });
        let tokens: Vec<_> = tokens.collect::<Result<_, _>>()?;
        self.model.run(&tokens, Wanted::Logits, &self.task.name, |row| {
            row.values(Meaning::ClassLogits).map(<[f32]>::to_vec)
        })
    }

    /// The embeddings of texts, each of length one.
    fn embeddings(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, TaskError> {
        let name = &self.task.name;
        let mut vectors = self.model.embed(texts, self.sequence, self.frequencies, name)?;
        for vector in &mut vectors {
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            if length > 0.0 {
                vector.iter_mut().for_each(|value| *value /= length);
            }
        }
        Ok(vectors)
    }

    fn labels_error(&self, found: usize, expected: usize) -> TaskError {
        let (model, task) = (self.model.name().to_owned(), self.task.name.clone());
        TaskError::Labels { model, task, found, expected }
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}
