//! The loss of sub-architectures in masked language modelling, as the search's fitness.

use atb_search::EvaluationError;
use atb_space::Architecture;
use atb_text::Encoded;

use crate::data::{Masked, Specials};
use crate::fitness::digest;
use crate::train::{mask_held_out, masked_lm_loss};
use crate::{PlmError, SuperPlm};

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
    /// [`PlmError::NothingToScore`] if `text` is padding only, and what its vocabulary
    /// lacks of BERT's special tokens.
    pub fn new(plm: &'a SuperPlm, text: &Encoded) -> Result<Self, PlmError> {
        plm.mlm_head(plm.architecture())?.ok_or(PlmError::NoMlmHead)?;
        let specials = Specials::of(plm.tokenizer())?;
        let batches = mask_held_out(plm, &specials, text);
        if batches.iter().all(|batch| batch.labels.is_empty()) {
            return Err(PlmError::NothingToScore);
        }
        Ok(Self { plm, batches, digest: digest(&[plm], text) })
    }

    /// The loss of a sub-architecture over all of the text.
    ///
    /// # Errors
    /// [`PlmError::DoesNotFit`] for an architecture that the SuperPLM does not contain,
    /// [`PlmError::NotFinite`] if the weights overflow.
    pub fn loss(&self, arch: &Architecture) -> Result<f64, PlmError> {
        masked_lm_loss(self.plm, arch, &self.batches)
    }
}

impl atb_search::Fitness for MaskedLmFitness<'_> {
    fn name(&self) -> &str {
        "mlm-loss"
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn evaluate(&self, arch: &Architecture) -> Result<f64, EvaluationError> {
        Ok(self.loss(arch)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use atb_search::Fitness;
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
        let loss = fitness.evaluate(plm.architecture()).expect("scores");
        assert!(loss.is_finite() && loss > 0.0, "{loss}");
        let part = "1-8-12-2-8".parse().expect("parses");
        assert_ne!(fitness.evaluate(&part).expect("scores"), loss);
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
}
