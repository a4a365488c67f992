//! What an architecture costs: parameters and floating-point operations.

use serde::{Deserialize, Serialize};

use crate::Architecture;

/// How a model is run: one fixed shape of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Sequences at a time.
    pub batch: usize,
    /// Tokens a sequence, padding included.
    pub sequence: usize,
}

impl Default for Workload {
    /// Batch 1, sequence length 128: what the paper measures.
    fn default() -> Self {
        Self { batch: 1, sequence: 128 }
    }
}

/// Counts of parameters and operations.
#[derive(Clone, Copy, Debug)]
pub struct Cost;

impl Cost {
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
