//! What an architecture costs: parameters and floating-point operations.

use atb_settings::{Check, Checked};
use serde::{Deserialize, Serialize};

use crate::Architecture;

/// How a model is run: one fixed shape of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Sequences at a time.
    pub batch: usize,
    /// Tokens per sequence, padding included.
    pub sequence: usize,
}

impl Default for Workload {
    /// Batch 1, sequence length 128: what the paper measures.
    fn default() -> Self {
        Self { batch: 1, sequence: 128 }
    }
}

impl Checked for Workload {
    fn check(&self, at: &mut Check) {
        at.range("batch", self.batch, 1..=1_024);
        at.range("sequence", self.sequence, 1..=8_192);
    }
}

/// A model that is too heavy to be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("{arch} has {parameters} parameters; a model may have at most {}", Cost::MAX_PARAMETERS)]
#[diagnostic(help("choose a smaller architecture; more do not fit into one ONNX file"))]
pub struct TooHeavy {
    /// The model's architecture.
    pub arch: String,
    /// Its parameters, those of the embeddings included.
    pub parameters: u64,
}

/// Counts of parameters and operations.
#[derive(Clone, Copy, Debug)]
pub struct Cost;

impl Cost {
    /// The most parameters of a model that is trained or exported: as f32 they fill the 2 GiB
    /// that a protobuf message, and so an ONNX file, may have. BERT-large has 335 million.
    pub const MAX_PARAMETERS: u64 = 1 << 29;

    /// The parameters of a model that is to be made, as [`Cost::parameters`] counts them.
    ///
    /// # Errors
    /// [`TooHeavy`] if they are more than [`Cost::MAX_PARAMETERS`].
    pub fn check(
        arch: &Architecture,
        vocabulary: usize,
        positions: usize,
    ) -> Result<u64, TooHeavy> {
        let parameters = Self::parameters(arch, vocabulary, positions);
        match parameters > Self::MAX_PARAMETERS {
            true => Err(TooHeavy { arch: arch.id(), parameters }),
            false => Ok(parameters),
        }
    }

    /// Parameters of the encoder layers alone.
    #[must_use]
    pub fn encoder_parameters(arch: &Architecture) -> u64 {
        let hidden = arch.hidden() as u64;
        arch.layers()
            .iter()
            .map(|layer| {
                let (ffn, qkv) = (layer.intermediate as u64, layer.qkv as u64);
                let attention = 3 * (hidden * qkv + qkv) + qkv * hidden + hidden;
                let feed_forward = hidden * ffn + ffn + ffn * hidden + hidden;
                attention + feed_forward + 2 * 2 * hidden
            })
            .sum()
    }

    /// Parameters of the whole model: embeddings (word, position, two token types, their
    /// LayerNorm), encoder and pooler.
    #[must_use]
    pub fn parameters(arch: &Architecture, vocabulary: usize, positions: usize) -> u64 {
        let hidden = arch.hidden() as u64;
        let embeddings = (vocabulary as u64 + positions as u64 + 2) * hidden + 2 * hidden;
        embeddings + Self::encoder_parameters(arch) + hidden * hidden + hidden
    }

    /// Bytes of the model's file: its parameters at `bytes_per_parameter` (4 for f32, 2 for
    /// f16, 1 for int8). Names and shapes add a few kilobytes.
    #[must_use]
    pub fn file_bytes(
        arch: &Architecture,
        vocabulary: usize,
        positions: usize,
        bytes_per_parameter: usize,
    ) -> u64 {
        Self::parameters(arch, vocabulary, positions) * bytes_per_parameter as u64
    }

    /// Bytes of f32 activations that are alive at once where one run needs most: the
    /// residual beside either q, k, v and the attention scores, or the intermediate
    /// elements, of its widest layer. A runtime adds its own buffers.
    #[must_use]
    pub fn activation_bytes(arch: &Architecture, workload: Workload) -> u64 {
        let Workload { batch, sequence } = workload;
        let tokens = (batch * sequence) as u64;
        let widest = arch
            .layers()
            .iter()
            .map(|layer| {
                let scores = layer.heads as u64 * sequence as u64;
                (3 * layer.qkv as u64 + scores).max((layer.intermediate + arch.hidden()) as u64)
            })
            .max()
            .unwrap_or(0);
        4 * tokens * (arch.hidden() as u64 + widest)
    }

    /// Floating-point operations of one run of the matrix products: two for each
    /// multiply-add of the projections, the attention products, the feed-forward block
    /// and the pooler.
    #[must_use]
    pub fn flops(arch: &Architecture, batch: usize, sequence: usize) -> f64 {
        let (hidden, tokens) = (arch.hidden() as f64, sequence as f64);
        let layers: f64 = arch
            .layers()
            .iter()
            .map(|layer| {
                let (ffn, qkv) = (layer.intermediate as f64, layer.qkv as f64);
                2.0 * tokens * (4.0 * hidden * qkv + 2.0 * hidden * ffn + 2.0 * tokens * qkv)
            })
            .sum();
        batch as f64 * (layers + 2.0 * hidden * hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bert_base_has_its_published_size() {
        // 109,482,240 parameters: the number quoted for bert-base-uncased with its pooler.
        assert_eq!(Cost::parameters(&Architecture::bert_base(), 30_522, 512), 109_482_240);
    }

    #[test]
    fn the_largest_architecture_has_a_count_and_is_refused() {
        let huge: Architecture = "1024-1048576-1048576-1-1048576".parse().expect("parses");
        // 1,024 layers of 4 + 2 matrices of 2^40, the pooler's, and vectors beside them.
        let parameters = Cost::parameters(&huge, 1 << 24, 1 << 20);
        assert_eq!(parameters >> 40, 6 * 1024 + 1 + 17);
        let error = Cost::check(&huge, 30_522, 512).expect_err("too heavy").to_string();
        assert!(error.contains("a model may have at most 536870912"), "{error}");
        assert_eq!(Cost::check(&Architecture::bert_base(), 30_522, 512), Ok(109_482_240));
        let workload = Workload { batch: 1_024, sequence: 8_192 };
        assert!(Cost::activation_bytes(&huge, workload) > 1 << 45);
        assert!(Cost::file_bytes(&huge, 1 << 24, 1 << 20, 8) > 1 << 55);
    }

    #[test]
    fn bytes_by_hand() {
        let arch: Architecture = "1-20-100-2-14".parse().expect("parses");
        // (10 + 4 + 2) x 20 + 40 embeddings; 3 x (280 + 14) + 280 + 20 attention;
        // 2000 + 100 + 2000 + 20 feed-forward; 80 LayerNorm; 420 pooler.
        let parameters = 360 + 1182 + 4120 + 80 + 420;
        assert_eq!(Cost::parameters(&arch, 10, 4), parameters);
        assert_eq!(Cost::file_bytes(&arch, 10, 4, 2), 2 * parameters);
        // The feed-forward block needs most while sequences are short, the scores later.
        let bytes = |sequence| Cost::activation_bytes(&arch, Workload { batch: 3, sequence });
        assert_eq!(bytes(10), 4 * 30 * (20 + 100 + 20));
        assert_eq!(bytes(100), 4 * 300 * (20 + 3 * 14 + 2 * 100));
    }

    #[test]
    fn flops_grow_with_every_size() {
        let flops = |id: &str| Cost::flops(&id.parse().expect(id), 1, 128);
        let base = flops("4-256-512-4-256");
        for larger in ["5-256-512-4-256", "4-260-512-4-256", "4-256-516-4-256", "4-256-512-4-260"] {
            assert!(flops(larger) > base, "{larger}");
        }
        // 12 layers x 2 x 128 x (4 x 768^2 + 2 x 768 x 3072 + 2 x 128 x 768) + pooler.
        assert_eq!(flops("12-768-3072-12-768"), 22_348_431_360.0);
    }
}
