//! How a model is measured: everything that must be equal for two numbers to compare.

use atb_space::{Architecture, Workload};
use serde::{Deserialize, Serialize};

/// When a model counts as warm: a fast and a slow moving average of its run times agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmUp {
    /// Fewest runs before the averages are compared.
    pub min_runs: usize,
    /// Most runs; measuring starts after these even if the averages still differ.
    pub max_runs: usize,
    /// Largest relative difference of the two averages that counts as agreement.
    pub tolerance: f64,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { min_runs: 4, max_runs: 40, tolerance: 0.02 }
    }
}

/// What to do when the reference model runs slower than at the start of the session: let
/// the device cool down and measure again, a few times, then keep the record with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftRule {
    /// Relative change of the reference's run time that counts.
    pub tolerance: f64,
    /// How often one model is measured again.
    pub max_redos: usize,
    /// Time to cool down before each, in seconds.
    pub cool_down_seconds: f64,
    /// Time that a whole session spends on cooling down, in seconds. A device that does not
    /// recover is then measured as it is: the ratio to the reference is of use even so.
    pub session_seconds: f64,
}

impl Default for DriftRule {
    fn default() -> Self {
        Self { tolerance: 0.10, max_redos: 2, cool_down_seconds: 2.0, session_seconds: 16.0 }
    }
}

/// The measurement protocol; recorded in every file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// Batch and sequence length of every run.
    pub workload: Workload,
    /// Threads of the runtime.
    pub threads: usize,
    /// Logical cores that the agent is pinned to; none leaves it to the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<usize>,
    /// The fixed model that every sample is paired with.
    pub reference: Architecture,
    /// Runs in a row of each model before it is timed within a pair, so that the other
    /// model's weights have left the caches. They are kept as cold samples.
    pub settle_runs: usize,
    /// Fewest pairs.
    pub min_pairs: usize,
    /// Most pairs.
    pub max_pairs: usize,
    /// Measuring ends once the 95 % confidence interval of the ratio is narrower than
    /// this much of the ratio on either side.
    pub ratio_half_width: f64,
    /// Measuring ends after this long, once `min_pairs` are there.
    pub max_seconds: f64,
    /// The warm-up of each model.
    pub warm_up: WarmUp,
    /// What to do when the device gets slower.
    pub drift: DriftRule,
    /// Entries of the random word embeddings; small, because a look-up costs the same in a
    /// large table and a small board cannot hold one.
    pub vocabulary: usize,
    /// Seed of the random weights and tokens.
    pub seed: u64,
}

impl Default for Protocol {
    fn default() -> Self {
        let layer = atb_space::Layer { intermediate: 1024, heads: 4, qkv: 256 };
        Self {
            workload: Workload::default(),
            threads: 1,
            cores: Vec::new(),
            #[expect(clippy::expect_used, reason = "constant sizes that form an architecture")]
            reference: Architecture::uniform(2, 256, layer).expect("valid sizes"),
            settle_runs: 1,
            min_pairs: 15,
            max_pairs: 60,
            ratio_half_width: 0.004,
            max_seconds: 4.0,
            warm_up: WarmUp::default(),
            drift: DriftRule::default(),
            vocabulary: 1024,
            seed: 0,
        }
    }
}
