//! One file a family of tasks: how its examples become inputs, and outputs outcomes.

pub(crate) mod classification;
pub(crate) mod regression;
pub(crate) mod retrieval;
pub(crate) mod similarity;
pub(crate) mod span;

use atb_interface::Meaning;
use atb_text::{TextInput, Tokenizer};

use crate::TaskError;
use crate::model::{Frequencies, Model, Tokens, Wanted};
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
    pub(crate) fn logits(&self, examples: &[Example]) -> Result<Vec<Vec<f32>>, TaskError> {
        let longest = self.model.longest(self.sequence);
        let tokens = examples.iter().map(|row| tokens_of(row, self.model.tokenizer(), longest));
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

    /// The logits, which must be `expected` of each example.
    pub(crate) fn of_width(
        &self,
        logits: Vec<Vec<f32>>,
        expected: usize,
    ) -> Result<Vec<Vec<f32>>, TaskError> {
        let found = logits.iter().map(Vec::len).find(|found| *found != expected);
        let Some(found) = found else { return Ok(logits) };
        let (model, task) = (self.model.name().to_owned(), self.task.name.clone());
        Err(TaskError::Labels { model, task, found, expected })
    }
}

/// The token ids of an example's texts, of at most `longest`.
pub(crate) fn tokens_of(
    example: &Example,
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Tokens, TaskError> {
    let first = example.first.as_str();
    let input = match &example.second {
        Some(second) => TextInput::Pair(first, second),
        None => TextInput::Single(first),
    };
    Tokens::of(input, tokenizer, longest)
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}
