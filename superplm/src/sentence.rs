//! Sentence embeddings: how far a student's are from a teacher's, and the loss of
//! sub-architectures by that, which a search minimises.
//!
//! An embedding is the mean of a text's last hidden states over its real tokens, in the teacher's
//! width: a student's are projected there by the projection that distillation learns.

use std::collections::{HashMap, HashSet};

use atb_checkpoint::WORD_EMBEDDINGS;
use atb_space::Architecture;
use atb_text::{Encoded, Specials};
use candle_core::{D, Device, Result as TensorResult, Tensor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::bert::Batch;
use crate::embeddings::{TeacherEmbeddings, text_digest};
use crate::fitness::{digest, finite, mean};
use crate::kd::project;
use crate::{PlmError, SuperPlm};

/// Texts a batch.
const BATCH_SIZE: usize = 16;

/// The mean over the real tokens of `[batch, tokens, width]`; `mask` is `[batch, tokens]`.
pub(crate) fn mean_pooled(hidden: &Tensor, mask: &Tensor) -> TensorResult<Tensor> {
    let sums = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
    sums.broadcast_div(&mask.sum_keepdim(1)?.maximum(1.0)?)
}

/// Each row at length one.
pub(crate) fn normalised(rows: &Tensor) -> TensorResult<Tensor> {
    rows.broadcast_div(&(rows.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}

/// One minus the cosine of each row, all of length one.
pub(crate) fn cosine_distances(student: &Tensor, teacher: &Tensor) -> TensorResult<Tensor> {
    (student * teacher)?.sum(D::Minus1)?.affine(-1.0, 1.0)
}

/// The mean squared difference of a row's cosines with the others, of each row; zero of a single
/// row.
pub(crate) fn similarity_errors(student: &Tensor, teacher: &Tensor) -> TensorResult<Tensor> {
    let texts = student.dim(0)?;
    let similarities = |rows: &Tensor| rows.matmul(&rows.t()?);
    // The diagonal is 1 in both, so it adds nothing.
    let sums = (similarities(student)? - similarities(teacher)?)?.sqr()?.sum(D::Minus1)?;
    sums / texts.saturating_sub(1).max(1) as f64
}

impl TeacherEmbeddings {
    /// Runs the whole `teacher` on `text`.
    ///
    /// # Errors
    /// [`PlmError::NothingToScore`] if a row of `text` is padding only, and what
    /// [`SuperPlm::forward`] reports.
    pub fn new(teacher: &SuperPlm, text: &Encoded) -> Result<Self, PlmError> {
        Self::of(teacher, text, |_, hidden| Ok(hidden))
    }

    /// Those that the whole SuperPLM gives itself, in its teacher's width where it has a
    /// projection to that: for when its teacher is not at hand.
    ///
    /// # Errors
    /// As [`TeacherEmbeddings::new`].
    pub fn of_itself(plm: &SuperPlm, text: &Encoded) -> Result<Self, PlmError> {
        Self::of(plm, text, |plm, hidden| projected(plm, plm.architecture(), hidden))
    }

    fn of(
        model: &SuperPlm,
        text: &Encoded,
        finish: impl Fn(&SuperPlm, Tensor) -> Result<Tensor, PlmError> + Send + Sync,
    ) -> Result<Self, PlmError> {
        let embed = |tokens: &Encoded| {
            let hidden = finish(model, model.forward(model.architecture(), tokens)?.hidden)?;
            Ok(mean_pooled(&hidden, &Batch::new(tokens, model.engine().device())?.mask)?)
        };
        let embeddings = embeddings(&batches(text)?, embed)?.to_device(&Device::Cpu)?;
        Ok(Self { embeddings, text: text_digest(text), teacher: model.source().to_owned() })
    }
}

/// Scores sub-architectures of a SuperPLM by how far their sentence embeddings are from a
/// teacher's: one minus the cosine to the teacher's, on average over the texts, and the squared
/// error of the similarities between the texts. Lower is better.
///
/// ```
/// use atb_superplm::{SentenceFitness, SuperPlm, TeacherEmbeddings};
/// use atb_text::Tokenizer;
///
/// let plm = SuperPlm::random("2-32-64-2-32".parse()?, Tokenizer::bert_uncased()?, 7)?;
/// let text = plm.tokenizer().encode_batch(["Held-out text.", "A second row of it."], 16)?;
/// let teacher = TeacherEmbeddings::new(&plm, &text)?;
/// let fitness = SentenceFitness::new(&plm, &teacher, &text)?;
/// assert!(fitness.loss(plm.architecture())? < 1e-6);
/// assert!(fitness.loss(&"1-16-32-2-16".parse()?)? > 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SentenceFitness<'a> {
    plm: &'a SuperPlm,
    batches: Vec<Encoded>,
    /// The teacher's, each of length one.
    teacher: Tensor,
    digest: String,
}

impl<'a> SentenceFitness<'a> {
    /// Keeps what the loss needs.
    ///
    /// # Errors
    /// [`PlmError::Teacher`] if the embeddings are of another text, of a width that the SuperPLM's
    /// projection does not lead to, or without a projection narrower than the SuperPLM;
    /// [`PlmError::NothingToScore`].
    pub fn new(
        plm: &'a SuperPlm,
        teacher: &TeacherEmbeddings,
        text: &Encoded,
    ) -> Result<Self, PlmError> {
        if !teacher.is_of(text) {
            let problem = "its embeddings are of another text".to_owned();
            return Err(PlmError::Teacher(problem));
        }
        let (whole, width) = (plm.architecture(), teacher.embeddings.dim(1)?);
        let (own, suits) = match plm.kd_projection(whole)? {
            Some(projection) => (projection.weight.dim(0)?, projection.weight.dim(0)? == width),
            None => (whole.hidden(), whole.hidden() <= width),
        };
        if !suits {
            let problem = format!("its embeddings have {width} values, the SuperPLM's {own}");
            return Err(PlmError::Teacher(problem));
        }
        let mut hasher = Sha256::new();
        hasher.update(digest(&[plm], text));
        hasher.update(&teacher.teacher);
        Ok(Self {
            plm,
            batches: batches(text)?,
            teacher: normalised(&teacher.embeddings)?,
            digest: atb_files::hex(&hasher.finalize()),
        })
    }

    /// A digest of everything besides the architecture that the loss depends on: weights,
    /// configuration, teacher and text.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The loss of a sub-architecture over all texts.
    ///
    /// # Errors
    /// [`PlmError::DoesNotFit`] for an architecture that the SuperPLM does not contain,
    /// [`PlmError::NotFinite`] if the weights overflow.
    pub fn loss(&self, arch: &Architecture) -> Result<f64, PlmError> {
        Ok(mean(&self.losses(arch)?))
    }

    /// The losses of the single texts, whose mean is [`SentenceFitness::loss`]: the distance to
    /// the teacher's embedding, and the squared error of the similarities to the other texts.
    ///
    /// # Errors
    /// As [`SentenceFitness::loss`].
    pub fn losses(&self, arch: &Architecture) -> Result<Vec<f64>, PlmError> {
        let plm = self.plm;
        let own = embeddings(&self.batches, |tokens| {
            let hidden = projected(plm, arch, plm.forward(arch, tokens)?.hidden)?;
            Ok(mean_pooled(&hidden, &Batch::new(tokens, plm.engine().device())?.mask)?)
        })?;
        finite(arch, self.losses_of(&own)?)
    }

    /// The losses of the single texts where there is no layer at all: of the mean of a text's
    /// word embeddings, as they are or weighted by their inverse document frequency in these
    /// texts, whichever is lower on average.
    ///
    /// # Errors
    /// [`PlmError::Tensor`] of an operation that failed.
    pub fn losses_of_static_table(&self) -> Result<Vec<f64>, PlmError> {
        let plm = self.plm;
        let missing = || PlmError::Teacher("the SuperPLM has no word embeddings".to_owned());
        let table = plm.parameter(WORD_EMBEDDINGS).ok_or_else(missing)?;
        let texts = words_of(plm, &self.batches);
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for text in &texts {
            let distinct: HashSet<u32> = text.iter().copied().collect();
            distinct.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
        }
        let plain = |_: &u32| 1.0;
        let inverse = |word: &u32| ((texts.len() + 1) as f32 / (counts[word] + 1) as f32).ln();
        let losses = |weight: &dyn Fn(&u32) -> f32| -> Result<Vec<f64>, PlmError> {
            let mean = |text: &Vec<u32>| -> Result<Tensor, PlmError> {
                let weights: Vec<f32> = text.iter().map(weight).collect();
                let weights = Tensor::new(weights, table.device())?.unsqueeze(0)?;
                let rows = table.index_select(&Tensor::new(&**text, table.device())?, 0)?;
                // Of length one later, whatever the weights sum up to.
                Ok(weights.matmul(&rows)?)
            };
            let rows = texts.iter().map(mean).collect::<Result<Vec<_>, _>>()?;
            let rows = Tensor::cat(&rows, 0)?.unsqueeze(1)?;
            let own = projected(plm, plm.architecture(), rows)?.squeeze(1)?;
            self.losses_of(&own.to_device(&Device::Cpu)?)
        };
        let (plain, weighted) = (losses(&plain)?, losses(&inverse)?);
        Ok(if mean(&weighted) < mean(&plain) { weighted } else { plain })
    }

    /// The losses of the single texts whose embeddings these are.
    fn losses_of(&self, own: &Tensor) -> Result<Vec<f64>, PlmError> {
        // Without a projection a narrower model has the first of the teacher's dimensions.
        let missing = self.teacher.dim(1)? - own.dim(1)?;
        let own = normalised(&own.pad_with_zeros(1, 0, missing)?)?;
        let distances = cosine_distances(&own, &self.teacher)?.to_vec1::<f32>()?;
        let errors = similarity_errors(&own, &self.teacher)?.to_vec1::<f32>()?;
        let both = distances.into_iter().zip(errors);
        Ok(both.map(|(distance, error)| f64::from(distance) + f64::from(error)).collect())
    }
}

/// The words of each text, special tokens left out; of a text without any, all its tokens.
fn words_of(plm: &SuperPlm, batches: &[Encoded]) -> Vec<Vec<u32>> {
    let Specials { padding, start, separator, .. } = plm.tokenizer().specials();
    let of_row = |ids: &[i64], mask: &[i64]| {
        let real = ids.iter().zip(mask).filter(|(_, real)| **real != 0).map(|(id, _)| *id);
        let is_word = |id: &i64| ![padding, start, separator].contains(id);
        let words: Vec<u32> = real.clone().filter(is_word).map(|id| id as u32).collect();
        if words.is_empty() { real.map(|id| id as u32).collect() } else { words }
    };
    let rows = batches.iter().flat_map(|batch| {
        let ids = batch.input_ids.chunks_exact(batch.sequence);
        ids.zip(batch.attention_mask.chunks_exact(batch.sequence))
    });
    rows.map(|(ids, mask)| of_row(ids, mask)).collect()
}

/// A text in batches, none of whose rows is empty.
fn batches(text: &Encoded) -> Result<Vec<Encoded>, PlmError> {
    let masks = text.attention_mask.chunks(text.sequence.max(1));
    if text.batch == 0 || masks.into_iter().any(|mask| mask.iter().all(|real| *real == 0)) {
        return Err(PlmError::NothingToScore);
    }
    Ok(text.split_trimmed(BATCH_SIZE))
}

/// The embeddings of all batches, `[texts, width]`, in the order of the text.
fn embeddings(
    batches: &[Encoded],
    embed: impl Fn(&Encoded) -> Result<Tensor, PlmError> + Send + Sync,
) -> Result<Tensor, PlmError> {
    let parts: Vec<Tensor> = batches.par_iter().map(embed).collect::<Result<_, PlmError>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// Hidden states in the teacher's width, where the model has a projection to it.
fn projected(plm: &SuperPlm, arch: &Architecture, hidden: Tensor) -> Result<Tensor, PlmError> {
    match plm.kd_projection(arch)? {
        Some(projection) => Ok(project(plm.engine(), &hidden, &projection)?),
        None => Ok(hidden),
    }
}
