//! The loss of sub-architectures in masked language modelling, which a search minimises.

use atb_space::Architecture;
use atb_text::{Encoded, Specials};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::bert;
use crate::data::{Masked, mask};
use crate::fitness::{digest, finite, mean};
use crate::random::{Purpose, generator};
use crate::{PlmError, SuperPlm};

/// Batch size of held-out text.
const BATCH_SIZE: usize = 8;

/// Scores sub-architectures of a SuperPLM by how well they predict masked tokens of
/// held-out text: the mean cross-entropy, in nats a token. Lower is better.
///
/// The masks are drawn once, so every architecture has the same tokens to predict.
pub struct MaskedLmFitness<'a> {
    plm: &'a SuperPlm,
    batches: Vec<Masked>,
    digest: String,
}

impl<'a> MaskedLmFitness<'a> {
    /// Masks `text`.
    ///
    /// # Errors
    /// [`PlmError::NoMlmHead`] if the SuperPLM was not trained by this objective,
    /// [`PlmError::NothingToScore`] if `text` is padding only.
    pub fn new(plm: &'a SuperPlm, text: &Encoded) -> Result<Self, PlmError> {
        plm.mlm_head(plm.architecture())?.ok_or(PlmError::NoMlmHead)?;
        let batches = mask_held_out(plm, &plm.tokenizer().specials(), text);
        if batches.iter().all(|batch| batch.labels.is_empty()) {
            return Err(PlmError::NothingToScore);
        }
        Ok(Self { plm, batches, digest: digest(&[plm], text) })
    }

    /// A digest of everything besides the architecture that the loss depends on: weights,
    /// configuration and text.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The loss of a sub-architecture over all of the text.
    ///
    /// # Errors
    /// [`PlmError::DoesNotFit`] for an architecture that the SuperPLM does not contain,
    /// [`PlmError::NotFinite`] if the weights overflow.
    pub fn loss(&self, arch: &Architecture) -> Result<f64, PlmError> {
        masked_lm_loss(self.plm, arch, &self.batches)
    }

    /// The losses of the batches, each weighted by its share of the masked tokens, so that their
    /// mean is [`MaskedLmFitness::loss`].
    ///
    /// # Errors
    /// As [`MaskedLmFitness::loss`].
    pub fn losses(&self, arch: &Architecture) -> Result<Vec<f64>, PlmError> {
        masked_lm_losses(self.plm, arch, &self.batches)
    }
}

/// Held-out text with its masks, always the same ones.
pub(crate) fn mask_held_out(plm: &SuperPlm, specials: &Specials, text: &Encoded) -> Vec<Masked> {
    let mut rng = generator(0, Purpose::Validation, 0);
    text.split_trimmed(BATCH_SIZE)
        .iter()
        .map(|batch| mask(batch, specials, plm.config().vocab_size, &mut rng))
        .collect()
}

/// The mean cross-entropy of a sub-model over masked batches, on all cores.
pub(crate) fn masked_lm_loss(
    plm: &SuperPlm,
    arch: &Architecture,
    batches: &[Masked],
) -> Result<f64, PlmError> {
    Ok(mean(&masked_lm_losses(plm, arch, batches)?))
}

/// The cross-entropies of the batches, each weighted by its share of the masked tokens.
fn masked_lm_losses(
    plm: &SuperPlm,
    arch: &Architecture,
    batches: &[Masked],
) -> Result<Vec<f64>, PlmError> {
    let (head, decoder) = plm.mlm_head(arch)?.ok_or(PlmError::NoMlmHead)?;
    let eps = plm.config().layer_norm_eps;
    let engine = plm.engine();
    let parts: Vec<(f64, usize)> = batches
        .par_iter()
        .map(|masked| {
            let (positions, labels) = targets(masked, engine.device())?;
            let hidden = plm.forward(arch, &masked.batch)?.hidden;
            let logits = bert::predict_masked(&head, &decoder, eps, &hidden, &positions, engine)?;
            let sum = engine.cross_entropy(&logits, &labels)?.to_scalar::<f32>()?;
            Ok((f64::from(sum), masked.labels.len()))
        })
        .collect::<Result<_, PlmError>>()?;
    let count: usize = parts.iter().map(|part| part.1).sum();
    if count == 0 {
        return Err(PlmError::NothingToScore);
    }
    let weight = parts.len() as f64 / count as f64;
    finite(arch, parts.iter().map(|part| part.0 * weight).collect())
}

/// The masked positions, i64 into `[batch * sequence]`, and the true tokens there, i64.
pub(crate) fn targets(masked: &Masked, device: &Device) -> candle_core::Result<(Tensor, Tensor)> {
    let ids = |values: &[u32]| {
        let values: Vec<i64> = values.iter().map(|value| i64::from(*value)).collect();
        Tensor::new(values, device)
    };
    Ok((ids(&masked.positions)?, ids(&masked.labels)?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use atb_text::Tokenizer;

    use super::*;

    #[test]
    fn sub_models_are_scored_on_the_same_masks() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-mlm");
        let plm = SuperPlm::load(&folder).expect("loads");
        let text = Encoded {
            batch: 2,
            sequence: 6,
            input_ids: vec![2, 4, 6, 5, 8, 3, 2, 7, 5, 9, 3, 0],
            attention_mask: vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
            token_type_ids: vec![0; 12],
        };
        let fitness = MaskedLmFitness::new(&plm, &text).expect("has a head");
        let loss = fitness.loss(plm.architecture()).expect("scores");
        assert!(loss.is_finite() && loss > 0.0, "{loss}");
        let part = "1-8-12-2-8".parse().expect("parses");
        assert_ne!(fitness.loss(&part).expect("scores"), loss);
        assert_eq!(fitness.loss(plm.architecture()).expect("scores"), loss);
        let again = MaskedLmFitness::new(&plm, &text).expect("has a head");
        assert_eq!(again.digest(), fitness.digest());
    }

    #[test]
    fn the_head_of_every_layout_gives_what_pytorch_gives() {
        let fixtures =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures/mlm");
        let device = candle_core::Device::Cpu;
        let expected =
            candle_core::safetensors::load(fixtures.join("expected.safetensors"), &device)
                .expect("loads");
        let hidden = &expected["hidden"];
        let (rows, length, _) = hidden.dims3().expect("three axes");
        let all = candle_core::Tensor::arange(0, (rows * length) as i64, &device).expect("makes");
        for folder in ["pickle", "hugging-face"] {
            let plm = SuperPlm::load(&fixtures.join(folder)).expect("loads");
            let (head, decoder) =
                plm.mlm_head(plm.architecture()).expect("fits").expect("has a head");
            let eps = plm.config().layer_norm_eps;
            let logits =
                crate::bert::predict_masked(&head, &decoder, eps, hidden, &all, plm.engine())
                    .and_then(|logits| logits.flatten_all()?.to_vec1::<f32>())
                    .expect("runs");
            let wanted = expected["logits"].flatten_all().and_then(|all| all.to_vec1::<f32>());
            let differences = logits.iter().zip(wanted.expect("reads"));
            assert_eq!(logits.len(), rows * length * plm.config().vocab_size);
            let largest = differences.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < 2e-5, "{folder}: logits differ by {largest}");
        }
        let headless = SuperPlm::load(&fixtures.join("safetensors")).expect("loads");
        assert!(headless.mlm_head(headless.architecture()).expect("fits").is_none());
    }

    #[test]
    fn a_model_without_the_head_and_text_without_tokens_are_refused() {
        let tokenizer = Tokenizer::bert_uncased().expect("built in");
        let arch = "1-16-32-2-16".parse().expect("parses");
        let plm = SuperPlm::random(arch, tokenizer, 1).expect("builds");
        let text = plm.tokenizer().encode_batch(["Some text."], 8).expect("encodes");
        let error = MaskedLmFitness::new(&plm, &text).err().expect("no head");
        assert!(matches!(error, PlmError::NoMlmHead), "{error}");
    }

    /// `tests/reference/make_reference.py` computed the loss with PyTorch and transformers.
    #[test]
    fn the_loss_of_an_imported_masked_language_model_is_the_reference_implementations() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-mlm");
        let plm = SuperPlm::load(&folder).expect("loads");
        let expected = folder.join("expected.safetensors");
        let expected = candle_core::safetensors::load(expected, &Device::Cpu).expect("opens");
        let read = |name: &str| -> Vec<i64> {
            expected[name].flatten_all().and_then(|ids| ids.to_vec1()).expect(name)
        };
        let (batch, sequence) = expected["masked_ids"].dims2().expect("two axes");
        let batch = Encoded {
            batch,
            sequence,
            input_ids: read("masked_ids"),
            attention_mask: read("attention_mask"),
            token_type_ids: vec![0; batch * sequence],
        };
        let (positions, labels) = read("labels")
            .into_iter()
            .zip(0..)
            .filter_map(|(label, position)| Some((position, u32::try_from(label).ok()?)))
            .unzip();
        let masked = Masked { batch, positions, labels };
        assert_eq!(masked.labels, [5, 7, 10]);
        let loss = masked_lm_loss(&plm, plm.architecture(), &[masked]).expect("scores");
        let expected: Vec<f32> = expected["mlm_loss"].to_vec1().expect("a loss");
        let difference = (loss - f64::from(expected[0])).abs();
        assert!(difference < 1e-5, "{loss} for {}", expected[0]);
    }
}
