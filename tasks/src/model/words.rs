//! The static baseline: the mean of word embeddings, with no layer above them.

use std::path::Path;
use std::sync::Arc;

use atb_interface::WORD_EMBEDDINGS;
use atb_text::Tokenizer;
use half::f16;
use rayon::prelude::*;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::Framework;

use crate::TaskError;

/// In how many of so many texts each word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frequencies {
    texts: usize,
    /// By the word's id.
    counts: Vec<usize>,
}

impl Frequencies {
    /// Those of the words in `texts`.
    ///
    /// # Errors
    /// [`TaskError::Text`].
    pub fn of(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Self, TaskError> {
        let mut counts = vec![0; tokenizer.vocabulary_size()];
        for ids in ids_of(tokenizer, texts)? {
            let mut distinct = ids;
            distinct.sort_unstable();
            distinct.dedup();
            for id in distinct {
                counts[id] += 1;
            }
        }
        Ok(Self { texts: texts.len(), counts })
    }

    /// How many texts they are of.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.texts
    }

    /// The inverse document frequency of a word, smoothed as if one more text had every word.
    fn inverse(&self, id: usize) -> f32 {
        let count = self.counts.get(id).copied().unwrap_or_default();
        ((self.texts + 1) as f32 / (count + 1) as f32).ln()
    }
}

/// A table of word embeddings.
pub(super) struct Words {
    values: Arc<[f32]>,
    width: usize,
    weighted: bool,
}

impl Words {
    pub(super) fn new(values: Vec<f32>, width: usize, weighted: bool) -> Self {
        Self { values: values.into(), width, weighted }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn is_weighted(&self) -> bool {
        self.weighted
    }

    /// The mean of each text's words, special tokens left out.
    pub(super) fn embed(
        &self,
        tokenizer: &Tokenizer,
        texts: &[&str],
        frequencies: Option<&Frequencies>,
    ) -> Result<Vec<Vec<f32>>, TaskError> {
        let frequencies = frequencies.filter(|_| self.weighted);
        let mean = |ids: Vec<usize>| {
            let mut sum = vec![0.0; self.width];
            let mut weights = 0.0;
            for id in ids {
                let Some(row) = self.values.chunks_exact(self.width).nth(id) else { continue };
                let weight = frequencies.map_or(1.0, |frequencies| frequencies.inverse(id));
                weights += weight;
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
            if weights > 0.0 {
                sum.iter_mut().for_each(|sum| *sum /= weights);
            }
            sum
        };
        Ok(ids_of(tokenizer, texts)?.into_iter().map(mean).collect())
    }
}

fn ids_of(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Vec<Vec<usize>>, TaskError> {
    let ids = texts.par_iter().map(|text| {
        let tokens = tokenizer.tokens(text)?;
        Ok(tokens.into_iter().map(|token| token.id as usize).collect())
    });
    ids.collect()
}

/// Shape and values of the word embeddings of an ONNX file, where it has them as f32, f16 or steps of
/// i8 with a scale for each row.
pub(super) fn of_file(path: &Path) -> Option<(Vec<usize>, Vec<f32>)> {
    let model = tract_onnx::onnx().proto_model_for_path(path).ok()?;
    let tensors = model.graph?.initializer;
    let named = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
    let words = named(WORD_EMBEDDINGS)?;
    let shape: Vec<usize> =
        words.dims.iter().map(|size| usize::try_from(*size)).collect::<Result<_, _>>().ok()?;
    let [rows, width] = *shape else { return None };
    let values = match words.data_type == DataType::Int8 as i32 {
        false => floats(words).or_else(|| halves(words))?,
        true => {
            let scales = floats(named(&format!("{WORD_EMBEDDINGS}.scale"))?)?;
            (scales.len() == rows).then_some(())?;
            let rows = words.raw_data.chunks_exact(width.max(1)).zip(scales);
            let values = |(row, scale): (&[u8], f32)| -> Vec<f32> {
                row.iter().map(|step| f32::from(step.cast_signed()) * scale).collect()
            };
            rows.flat_map(values).collect()
        }
    };
    (values.len() == rows.checked_mul(width)?).then_some((shape, values))
}

fn halves(tensor: &TensorProto) -> Option<Vec<f32>> {
    (tensor.data_type == DataType::Float16 as i32).then_some(())?;
    let values = tensor.raw_data.as_chunks().0.iter();
    Some(values.map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect())
}

fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    (tensor.data_type == DataType::Float as i32).then_some(())?;
    Some(match tensor.raw_data.is_empty() {
        true => tensor.float_data.clone(),
        false => tensor.raw_data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_weigh_more_and_special_tokens_nothing() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let texts = ["the cat", "the dog", "the the bird"];
        let frequencies = Frequencies::of(&tokenizer, &texts).expect("counts");
        let id = |text: &str| tokenizer.tokens(text).expect("tokenizes")[0].id as usize;
        assert_eq!(frequencies.texts(), 3);
        assert_eq!(frequencies.inverse(id("the")), 0.0);
        assert_eq!(frequencies.inverse(id("cat")), 2f32.ln());
        assert_eq!(frequencies.inverse(id("house")), 4f32.ln());

        // A table whose rows are the ids.
        let values: Vec<f32> = (0..30_522u32).map(|id| id as f32).collect();
        let embed = |weighted, text| {
            let words = Words::new(values.clone(), 1, weighted);
            words.embed(&tokenizer, &[text], Some(&frequencies)).expect("embeds")[0][0]
        };
        let (the, cat, house) = (id("the") as f32, id("cat") as f32, id("house") as f32);
        assert_eq!(embed(false, "the cat"), (the + cat) / 2.0);
        assert_eq!(embed(true, "the cat"), cat);
        let expected = (cat + 2.0 * house) / 3.0;
        assert!((embed(true, "the house cat") - expected).abs() < 1e-2);
        assert_eq!(embed(true, ""), 0.0);
    }
}
