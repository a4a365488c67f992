//! The analytic features of the structured model: what the parts of an encoder cost, up to
//! a factor that is fitted.
//!
//! Every feature is a count of operations or bytes of one kind. The features come in four
//! blocks by what they depend on, so that the latency of an architecture is
//! `embedding(dm) + sum over layers of (normalisation(dm) + attention(dm, h, dq) +
//! feed_forward(dm, df))`. The products appear three times: as they are, and with their
//! sizes rounded up to the rows and to the columns of the matrix kernel's tile, since
//! which operand is packed along which side is the runtime's choice.

use atb_space::{Layer, Workload};

/// What the features know of the run besides the architecture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    /// Rows and columns of the matrix kernel's tile.
    pub(crate) tile: (usize, usize),
    /// Batch and sequence length.
    pub(crate) workload: Workload,
}

/// The block of an encoder that a feature belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// Once a model: embeddings, pooler and the cost of a call.
    Embedding,
    /// Once a layer: LayerNorm, residuals and the cost of a layer's operators.
    Normalisation,
    /// Once a layer: projections, scores, softmax.
    Attention,
    /// Once a layer: the two products and GELU.
    FeedForward,
}

pub(crate) const EMBEDDING: usize = 3;
pub(crate) const NORMALISATION: usize = 2;
pub(crate) const ATTENTION: usize = 9;
pub(crate) const FEED_FORWARD: usize = 5;
/// Number of all features.
pub(crate) const COUNT: usize = EMBEDDING + NORMALISATION + ATTENTION + FEED_FORWARD;

/// Names of the features, block after block; the keys of the coefficients in the file.
pub(crate) const NAMES: [&str; COUNT] = [
    "call",
    "embedding_elements",
    "pooler_product",
    "layer",
    "hidden_elements",
    "projections",
    "projections_by_tile_rows",
    "projections_by_tile_columns",
    "attention_products",
    "attention_products_by_tile_rows",
    "attention_products_by_tile_columns",
    "qkv_elements",
    "softmax_elements",
    "projection_weights",
    "feed_forward_products",
    "feed_forward_products_by_tile_rows",
    "feed_forward_products_by_tile_columns",
    "intermediate_elements",
    "feed_forward_weights",
];

/// The block of the feature with this index, and its place in the block.
pub(crate) fn block_of(index: usize) -> Block {
    match index {
        _ if index < EMBEDDING => Block::Embedding,
        _ if index < EMBEDDING + NORMALISATION => Block::Normalisation,
        _ if index < EMBEDDING + NORMALISATION + ATTENTION => Block::Attention,
        _ => Block::FeedForward,
    }
}

impl Setting {
    fn tokens(self) -> f64 {
        (self.workload.batch * self.workload.sequence) as f64
    }

    fn up(size: usize, to: usize) -> f64 {
        size.next_multiple_of(to.max(1)) as f64
    }

    /// Features that occur once a model of the hidden size `hidden`.
    pub(crate) fn embedding(self, hidden: usize) -> [f64; EMBEDDING] {
        let dm = hidden as f64;
        [1.0, self.tokens() * dm, self.workload.batch as f64 * dm * dm]
    }

    /// Features of a layer that depend on the hidden size alone.
    pub(crate) fn normalisation(self, hidden: usize) -> [f64; NORMALISATION] {
        [1.0, self.tokens() * hidden as f64]
    }

    /// Features of one layer's attention.
    pub(crate) fn attention(self, hidden: usize, heads: usize, qkv: usize) -> [f64; ATTENTION] {
        let (tokens, sequence) = (self.tokens(), self.workload.sequence as f64);
        let (dm, dq, h) = (hidden as f64, qkv as f64, heads as f64);
        let head_size = qkv / heads.max(1);
        let projections =
            |to| tokens * (3.0 * dm * Self::up(qkv, to) + dq * Self::up(hidden, to)) / 4.0;
        let products = |to| tokens * sequence * h * Self::up(head_size, to);
        let (rows, columns) = self.tile;
        [
            projections(1),
            projections(rows),
            projections(columns),
            products(1),
            products(rows),
            products(columns),
            tokens * dq,
            tokens * sequence * h,
            dm * dq,
        ]
    }

    /// Features of one layer's feed-forward block.
    pub(crate) fn feed_forward(self, hidden: usize, intermediate: usize) -> [f64; FEED_FORWARD] {
        let tokens = self.tokens();
        let (dm, df) = (hidden as f64, intermediate as f64);
        let products =
            |to| tokens * (dm * Self::up(intermediate, to) + df * Self::up(hidden, to)) / 2.0;
        let (rows, columns) = self.tile;
        [products(1), products(rows), products(columns), tokens * df, dm * df]
    }

    /// All features of an encoder, in the order of [`NAMES`]: those of a layer summed over
    /// the layers.
    pub(crate) fn of(self, hidden: usize, layers: &[Layer]) -> [f64; COUNT] {
        let mut all = [0.0; COUNT];
        let (embedding, rest) = all.split_at_mut(EMBEDDING);
        let (normalisation, rest) = rest.split_at_mut(NORMALISATION);
        let (attention, feed_forward) = rest.split_at_mut(ATTENTION);
        embedding.copy_from_slice(&self.embedding(hidden));
        for layer in layers {
            add(normalisation, &self.normalisation(hidden));
            add(attention, &self.attention(hidden, layer.heads, layer.qkv));
            add(feed_forward, &self.feed_forward(hidden, layer.intermediate));
        }
        all
    }
}

fn add(sums: &mut [f64], values: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use atb_space::Architecture;

    use super::*;

    #[test]
    fn features_by_hand() {
        let setting = Setting { tile: (16, 6), workload: Workload { batch: 2, sequence: 10 } };
        let arch: Architecture = "1-20-30-2-14".parse().expect("parses");
        let features = setting.of(arch.hidden(), arch.layers());
        let named = |name| {
            let place = NAMES.iter().position(|known| *known == name).expect("a feature");
            features[place]
        };
        assert_eq!(named("call"), 1.0);
        assert_eq!(named("embedding_elements"), 20.0 * 20.0);
        assert_eq!(named("pooler_product"), 2.0 * 400.0);
        assert_eq!(named("projections"), 20.0 * 20.0 * 14.0);
        // Three products of 20 x 14, rounded to 16 rows, and one of 14 x 20, to 32.
        assert_eq!(
            named("projections_by_tile_rows"),
            20.0 * (3.0 * 20.0 * 16.0 + 14.0 * 32.0) / 4.0
        );
        // Heads of 7, rounded to 12 columns.
        assert_eq!(named("attention_products_by_tile_columns"), 20.0 * 10.0 * 2.0 * 12.0);
        assert_eq!(named("softmax_elements"), 20.0 * 10.0 * 2.0);
        assert_eq!(named("feed_forward_products"), 20.0 * 20.0 * 30.0);
        assert_eq!(
            named("feed_forward_products_by_tile_columns"),
            20.0 * (20.0 * 30.0 + 30.0 * 24.0) / 2.0
        );
    }

    #[test]
    fn layers_add_up() {
        let setting = Setting { tile: (8, 8), workload: Workload::default() };
        let of = |id: &str| {
            let arch: Architecture = id.parse().expect(id);
            setting.of(arch.hidden(), arch.layers())
        };
        let both = of("2-128-[256,512]-2-[64,128]");
        let (first, second) = (of("1-128-256-2-64"), of("1-128-512-2-128"));
        for index in 0..COUNT {
            let once = block_of(index) == Block::Embedding;
            let sum = if once { first[index] } else { first[index] + second[index] };
            assert_eq!(both[index], sum, "{}", NAMES[index]);
        }
    }
}
