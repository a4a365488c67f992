//! The KD loss of sub-architectures on held-out text, which a search minimises.

use atb_space::Architecture;
use atb_text::Encoded;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::bert::{Batch, Output};
use crate::embeddings::hash_text;
use crate::kd::{KdLoss, project};
use crate::{PlmError, SuperPlm};

/// Rows a batch: large enough for the matrix products, small enough that all cores have
/// one of a few kilobytes of held-out text.
const ROWS: usize = 8;

/// Scores sub-architectures of a SuperPLM by their KD loss against a teacher, whose
/// outputs are computed once. Lower is better.
///
/// ```
/// use atb_superplm::{KdFitness, SuperPlm};
/// use atb_text::Tokenizer;
///
/// let plm = SuperPlm::random("2-32-64-2-32".parse()?, Tokenizer::bert_uncased()?, 7)?;
/// let text = plm.tokenizer().encode_batch(["Held-out text.", "A second row of it."], 16)?;
/// let fitness = KdFitness::new(&plm, &plm, &text)?;
/// assert_eq!(fitness.loss(plm.architecture())?, 0.0);
/// assert!(fitness.loss(&"1-16-32-2-16".parse()?)? > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KdFitness<'a> {
    plm: &'a SuperPlm,
    batches: Vec<Scored>,
    digest: String,
}

/// A batch with what the teacher makes of it.
struct Scored {
    tokens: Encoded,
    mask: candle_core::Tensor,
    teacher: Output,
}

impl<'a> KdFitness<'a> {
    /// Runs the whole `teacher` on `text` and keeps what the loss needs of it.
    ///
    /// # Errors
    /// [`PlmError::Teacher`] if the two have different vocabularies, or widths without a
    /// projection between them; [`PlmError::NothingToScore`] if `text` is padding only;
    /// and what [`SuperPlm::forward`] reports.
    pub fn new(plm: &'a SuperPlm, teacher: &SuperPlm, text: &Encoded) -> Result<Self, PlmError> {
        Self::check_teacher(plm, teacher)?;
        let run = |tokens: &Encoded| teacher.forward(teacher.architecture(), tokens);
        Self::against(plm, run, digest(&[plm, teacher], text), text)
    }

    /// Scores sub-architectures against the whole SuperPLM, for when its teacher is not at
    /// hand. Where it has a projection to a teacher's width, hidden states are compared
    /// there, which is where they were trained to agree.
    ///
    /// # Errors
    /// As [`KdFitness::new`].
    pub fn of_itself(plm: &'a SuperPlm, text: &Encoded) -> Result<Self, PlmError> {
        let whole = plm.architecture();
        let projection = plm.kd_projection(whole)?;
        let run = |tokens: &Encoded| {
            let output = plm.forward(whole, tokens)?;
            let hidden = match &projection {
                Some(projection) => project(plm.engine(), &output.hidden, projection)?,
                None => output.hidden,
            };
            Ok(Output { hidden, ..output })
        };
        Self::against(plm, run, digest(&[plm], text), text)
    }

    /// Keeps what `teacher` makes of `text`.
    fn against(
        plm: &'a SuperPlm,
        teacher: impl Fn(&Encoded) -> Result<Output, PlmError> + Sync,
        digest: String,
        text: &Encoded,
    ) -> Result<Self, PlmError> {
        if text.real_tokens() == 0 {
            return Err(PlmError::NothingToScore);
        }
        let batches = text
            .split_trimmed(ROWS)
            .into_par_iter()
            .map(|tokens| {
                let output = teacher(&tokens)?;
                let mask = Batch::new(&tokens, plm.engine().device())?.mask;
                Ok(Scored { tokens, mask, teacher: Output { pooled: None, ..output } })
            })
            .collect::<Result<_, PlmError>>()?;
        Ok(Self { plm, batches, digest })
    }

    /// Checks that a model can be compared with a teacher.
    pub(crate) fn check_teacher(plm: &SuperPlm, teacher: &SuperPlm) -> Result<(), PlmError> {
        Self::check_vocabulary(plm, teacher)?;
        let refuse = |problem: String| Err(PlmError::Teacher(problem));
        let (whole, width) = (plm.architecture(), teacher.architecture().hidden());
        match plm.kd_projection(whole)? {
            Some(projection) if projection.weight.dims()[0] != width => refuse(format!(
                "its kd_projection.weight leads to a hidden size of {}, the teacher has {width}",
                projection.weight.dims()[0]
            )),
            None if whole.hidden() > width => refuse(format!(
                "its hidden size {} is more than the teacher's {width}, and it has no \
                 kd_projection.weight",
                whole.hidden()
            )),
            _ => Ok(()),
        }
    }

    /// Checks that a model's token ids are the teacher's.
    pub(crate) fn check_vocabulary(plm: &SuperPlm, teacher: &SuperPlm) -> Result<(), PlmError> {
        if plm.tokenizer().vocabulary_file() == teacher.tokenizer().vocabulary_file() {
            return Ok(());
        }
        let problem = "the two vocabularies differ, so their token ids do".to_owned();
        Err(PlmError::Teacher(problem))
    }

    /// A digest of everything besides the architecture that the loss depends on: weights,
    /// configurations and text.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The KD loss of a sub-architecture over all of the text.
    ///
    /// # Errors
    /// [`PlmError::DoesNotFit`] for an architecture that the SuperPLM does not contain,
    /// [`PlmError::NotFinite`] if the weights overflow.
    pub fn loss(&self, arch: &Architecture) -> Result<f64, PlmError> {
        Ok(mean(&self.losses(arch)?))
    }

    /// The losses of the batches, each weighted by its share of the text, so that their mean is
    /// [`KdFitness::loss`].
    ///
    /// # Errors
    /// As [`KdFitness::loss`].
    pub fn losses(&self, arch: &Architecture) -> Result<Vec<f64>, PlmError> {
        let projection = self.plm.kd_projection(arch)?;
        let parts: Vec<[f64; 4]> = self
            .batches
            .par_iter()
            .map(|batch| {
                let output = self.plm.forward(arch, &batch.tokens)?;
                let loss = KdLoss::by(
                    self.plm.engine(),
                    &output,
                    &batch.teacher,
                    &batch.mask,
                    projection.as_ref(),
                )?;
                let sum = |tensor: &candle_core::Tensor| tensor.to_scalar::<f32>().map(f64::from);
                Ok([
                    sum(&loss.hidden_sum)?,
                    loss.hidden_count,
                    sum(&loss.attention_sum)?,
                    loss.attention_count,
                ])
            })
            .collect::<Result<_, PlmError>>()?;
        let batches = parts.len() as f64;
        let total = |i: usize| parts.iter().map(|part| part[i]).sum::<f64>();
        let (hidden, attention) = (batches / total(1), batches / total(3));
        let losses = parts.iter().map(|part| part[0] * hidden + part[2] * attention);
        finite(arch, losses.collect())
    }
}

/// The mean of losses, summed in their order, whichever thread was first.
pub(crate) fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// The losses of an architecture whose weights do not overflow.
pub(crate) fn finite(arch: &Architecture, losses: Vec<f64>) -> Result<Vec<f64>, PlmError> {
    match mean(&losses) {
        loss if loss.is_finite() => Ok(losses),
        loss => Err(PlmError::NotFinite { arch: arch.id(), loss }),
    }
}

/// What a loss on `text` depends on besides the architecture.
pub(crate) fn digest(models: &[&SuperPlm], text: &Encoded) -> String {
    let mut hasher = Sha256::new();
    for model in models {
        hasher.update(model.source());
        hasher.update(model.config().to_json());
    }
    hash_text(&mut hasher, text);
    atb_files::hex(&hasher.finalize())
}
