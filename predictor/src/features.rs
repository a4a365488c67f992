//! The analytic features of the structured model: what an encoder computes, counted; what
//! each of it costs is fitted.
//!
//! The features come in parts by what they depend on, so that the latency of an
//! architecture is `embedding(dm) + sum over layers of (normalisation(dm) +
//! attention(dm, h, dq) + feed_forward(dm, df))`. They are few on purpose: with thirty
//! measurements every further one costs more accuracy than it brings.

use std::ops::RangeInclusive;

use atb_measurements::{AgentContext, DeviceContext};
use atb_space::{Architecture, Workload};
use serde::{Deserialize, Serialize};

use crate::observation::Source;

/// What the features know of the device and its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Rows of the matrix kernel's tile: the weights' output sizes are rounded up to it.
    pub tile_rows: usize,
    /// Elements that the LayerNorm routine takes at a time; rows of another length than a
    /// multiple of it take a slower one.
    pub row_chunk: usize,
}

impl Machine {
    /// What a tile's rows and a row chunk may be.
    const SIZES: RangeInclusive<usize> = 1..=65_536;

    /// What is known from a measurement file's header.
    ///
    /// The row chunk is that of tract's LayerNorm routines: 64 elements with AVX-512, 32
    /// with FMA, 16 on aarch64.
    #[must_use]
    pub fn of(device: &DeviceContext, agent: &AgentContext) -> Self {
        let row_chunk = match device.isa.as_str() {
            "x86_64" if agent.kernel.starts_with("avx512") => 64,
            "x86_64" => 32,
            "aarch64" => 16,
            _ => 1,
        };
        let (low, high) = (*Self::SIZES.start(), *Self::SIZES.end());
        Self { tile_rows: agent.tile.0.clamp(low, high), row_chunk }
    }
}

/// What the features know of a device for each shape of input: a runtime may choose
/// another matrix kernel for another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Machines(Vec<(Workload, Machine)>);

impl Machines {
    /// What is known from the headers of measurement files; the first file of a workload
    /// speaks for it.
    #[must_use]
    pub fn of(sources: &[Source]) -> Self {
        let mut known: Vec<(Workload, Machine)> = Vec::new();
        for source in sources {
            let workload = source.protocol.workload;
            if known.iter().all(|(other, _)| *other != workload) {
                known.push((workload, Machine::of(&source.device, &source.agent)));
            }
        }
        Self(known)
    }

    /// Checks that every size is one that a device can have.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (_, Machine { tile_rows, row_chunk }) in &self.0 {
            for (key, value) in [("tile_rows", tile_rows), ("row_chunk", row_chunk)] {
                if !Machine::SIZES.contains(value) {
                    let (low, high) = (Machine::SIZES.start(), Machine::SIZES.end());
                    return Err(format!("`{key}` is {value}, expected {low} to {high}"));
                }
            }
        }
        Ok(())
    }

    /// The machine for `workload`: as it was measured, or that of the measured workload
    /// with the nearest number of tokens.
    pub(crate) fn at(&self, workload: Workload) -> Machine {
        let tokens = |workload: Workload| workload.batch * workload.sequence;
        let distance =
            |known: Workload| (known != workload, tokens(known).abs_diff(tokens(workload)));
        let nearest = self.0.iter().min_by_key(|(known, _)| distance(*known));
        nearest.map_or_else(Machine::default, |(_, machine)| *machine)
    }
}

impl Default for Machine {
    /// Nothing is rounded.
    fn default() -> Self {
        Self { tile_rows: 1, row_chunk: 1 }
    }
}

/// Number of features.
pub(crate) const COUNT: usize = 14;

/// Names of the features: the keys of the coefficients in a predictor file.
pub(crate) const NAMES: [&str; COUNT] = [
    "call",
    "embedding_elements",
    "layer",
    "hidden_elements",
    "ragged_hidden_elements",
    "products",
    "attention_products",
    "softmax_elements",
    "intermediate_elements",
    "reloads_over_384_kib",
    "reloads_over_768_kib",
    "reloads_over_1536_kib",
    "weights",
    "batched_softmax_elements",
];

/// Index of the first feature of each part; they are laid out as [`NAMES`] is.
const EMBEDDING: usize = 0;
const NORMALISATION: usize = 2;
const PRODUCTS: usize = 5;
const ATTENTION: usize = 6;
const FEED_FORWARD: usize = 8;
const WEIGHTS: usize = 12;
const BATCHED: usize = 13;

/// Bytes of intermediate activations beyond which the product that reads them has to load
/// them again for every row of tiles: three quarters of common second-level caches.
const CACHES: [f64; 3] = [393_216.0, 786_432.0, 1_572_864.0];

/// A kind of work, whose speed is a property of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Overheads of calls.
    Calls,
    /// Passes over elements in memory.
    Elements,
    /// Matrix products.
    Products,
}

/// The kind of work that a feature counts.
pub(crate) fn work_of(index: usize) -> Work {
    match NAMES[index] {
        "call" | "layer" => Work::Calls,
        "products" | "attention_products" => Work::Products,
        _ => Work::Elements,
    }
}

/// Feature values, or what each costs.
pub(crate) type Features = [f64; COUNT];

/// A machine and a shape of input: all that features depend on besides the architecture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) machine: Machine,
    pub(crate) workload: Workload,
}

impl Setting {
    fn tokens(self) -> f64 {
        (self.workload.batch * self.workload.sequence) as f64
    }

    /// A product with a weight of `inputs` by `outputs`: multiply-adds with the outputs
    /// rounded up to the tile.
    fn product(self, inputs: usize, outputs: usize) -> f64 {
        self.tokens() * inputs as f64 * outputs.next_multiple_of(self.machine.tile_rows) as f64
    }

    /// What occurs once a model: the call and the embeddings.
    pub(crate) fn embedding(self, hidden: usize) -> Features {
        let mut features = [0.0; COUNT];
        features[EMBEDDING] = 1.0;
        features[EMBEDDING + 1] = self.tokens() * hidden as f64;
        features
    }

    /// What occurs once a layer and depends on the hidden size alone: the calls of its
    /// operators, LayerNorm and residuals.
    pub(crate) fn normalisation(self, hidden: usize) -> Features {
        let mut features = [0.0; COUNT];
        let elements = self.tokens() * hidden as f64;
        features[NORMALISATION] = 1.0;
        features[NORMALISATION + 1] = elements;
        if !hidden.is_multiple_of(self.machine.row_chunk) {
            features[NORMALISATION + 2] = elements;
        }
        features
    }

    /// One layer's attention: four projections, scores and context, softmax.
    pub(crate) fn attention(self, hidden: usize, heads: usize, qkv: usize) -> Features {
        let mut features = [0.0; COUNT];
        let pairs = self.tokens() * self.workload.sequence as f64;
        features[PRODUCTS] = 3.0 * self.product(hidden, qkv) + self.product(qkv, hidden);
        features[ATTENTION] = 2.0 * pairs * qkv as f64;
        features[ATTENTION + 1] = pairs * heads as f64;
        // Several sequences at a time cost the runtime copies of the scores.
        if self.workload.batch > 1 {
            features[BATCHED] = pairs * heads as f64;
        }
        features[WEIGHTS] = 4.0 * (hidden * qkv) as f64;
        features
    }

    /// One layer's feed-forward block: two products and GELU.
    pub(crate) fn feed_forward(self, hidden: usize, intermediate: usize) -> Features {
        let mut features = [0.0; COUNT];
        let elements = self.tokens() * intermediate as f64;
        features[PRODUCTS] =
            self.product(hidden, intermediate) + self.product(intermediate, hidden);
        features[FEED_FORWARD] = elements;
        for (place, cache) in CACHES.into_iter().enumerate() {
            features[FEED_FORWARD + 1 + place] = hidden as f64 * (4.0 * elements - cache).max(0.0);
        }
        features[WEIGHTS] = 2.0 * (hidden * intermediate) as f64;
        features
    }

    /// All features of an architecture.
    pub(crate) fn of(self, arch: &Architecture) -> Features {
        let hidden = arch.hidden();
        let mut all = self.embedding(hidden);
        for layer in arch.layers() {
            for part in [
                self.normalisation(hidden),
                self.attention(hidden, layer.heads, layer.qkv),
                self.feed_forward(hidden, layer.intermediate),
            ] {
                for (sum, value) in all.iter_mut().zip(part) {
                    *sum += value;
                }
            }
        }
        all
    }
}

/// Whether a feature can be told from the others only by measuring several batches or
/// sequence lengths.
pub(crate) fn needs_several_workloads(index: usize) -> bool {
    index == WEIGHTS || index == BATCHED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(features: &Features, name: &str) -> f64 {
        features[NAMES.iter().position(|known| *known == name).expect("a feature")]
    }

    #[test]
    fn features_by_hand() {
        let setting = Setting {
            machine: Machine { tile_rows: 16, row_chunk: 64 },
            workload: Workload { batch: 2, sequence: 10 },
        };
        let features = setting.of(&"1-20-30-2-14".parse().expect("parses"));
        assert_eq!(named(&features, "call"), 1.0);
        assert_eq!(named(&features, "embedding_elements"), 20.0 * 20.0);
        assert_eq!(named(&features, "hidden_elements"), 20.0 * 20.0);
        assert_eq!(named(&features, "ragged_hidden_elements"), 20.0 * 20.0);
        // Outputs rounded to 16 rows: three of 14, one of 20, then 30 and 20.
        let products = 3.0 * 20.0 * 16.0 + 14.0 * 32.0 + 20.0 * 32.0 + 30.0 * 32.0;
        assert_eq!(named(&features, "products"), 20.0 * products);
        assert_eq!(named(&features, "attention_products"), 2.0 * 20.0 * 10.0 * 14.0);
        assert_eq!(named(&features, "softmax_elements"), 20.0 * 10.0 * 2.0);
        assert_eq!(named(&features, "intermediate_elements"), 20.0 * 30.0);
        assert_eq!(named(&features, "weights"), 4.0 * 280.0 + 2.0 * 600.0);

        let wide = setting.of(&"1-64-20000-2-14".parse().expect("parses"));
        assert_eq!(named(&wide, "ragged_hidden_elements"), 0.0);
        let over = 4.0 * 20.0 * 20_000.0 - 786_432.0;
        assert_eq!(named(&wide, "reloads_over_768_kib"), 64.0 * over);
        assert_eq!(named(&features, "reloads_over_384_kib"), 0.0);
    }

    #[test]
    fn layers_add_up() {
        let machine = Machine { tile_rows: 8, row_chunk: 16 };
        let setting = Setting { machine, workload: Workload::default() };
        let of = |id: &str| setting.of(&id.parse().expect(id));
        let both = of("2-128-[256,512]-2-[64,128]");
        let (first, second) = (of("1-128-256-2-64"), of("1-128-512-2-128"));
        for index in 0..COUNT {
            let once = index < NORMALISATION;
            let sum = if once { first[index] } else { first[index] + second[index] };
            assert_eq!(both[index], sum, "{}", NAMES[index]);
        }
    }

    #[test]
    fn the_machine_is_read_from_the_header() {
        let device = |isa: &str| DeviceContext { isa: isa.to_owned(), ..DeviceContext::default() };
        let agent = |kernel: &str| AgentContext {
            kernel: kernel.to_owned(),
            tile: (16, 12),
            ..AgentContext::default()
        };
        let of = |isa, kernel| Machine::of(&device(isa), &agent(kernel));
        let machine = of("x86_64", "avx512_mmm_f32_16x12");
        assert_eq!(machine, Machine { tile_rows: 16, row_chunk: 64 });
        assert_eq!(of("x86_64", "fma_mmm_f32_16x6").row_chunk, 32);
        assert_eq!(of("aarch64", "arm64simd_mmm_f32_8x8_a53").row_chunk, 16);
        let unknown = Machine::of(&DeviceContext::default(), &AgentContext::default());
        assert_eq!(unknown, Machine::default());
    }
}
