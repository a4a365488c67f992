//! How a model is measured: everything that must be equal for two numbers to compare.

use std::ops::RangeInclusive;

use atb_settings::{Check, Checked};
use atb_space::{Architecture, Precision, Workload};
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

impl Checked for WarmUp {
    fn check(&self, at: &mut Check) {
        at.range("min_runs", self.min_runs, 0..=100_000);
        at.range("max_runs", self.max_runs, 0..=100_000);
        at.range("tolerance", self.tolerance, 0.0..=10.0);
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

impl Checked for DriftRule {
    fn check(&self, at: &mut Check) {
        at.range("tolerance", self.tolerance, 0.0..=10.0);
        at.range("max_redos", self.max_redos, 0..=1_000);
        at.range("cool_down_seconds", self.cool_down_seconds, 0.0..=86_400.0);
        at.range("session_seconds", self.session_seconds, 0.0..=86_400.0);
    }
}

/// The measurement protocol; recorded in every file.
pub type Protocol = ProtocolOf<usize, Vec<usize>>;

/// The protocol as it is asked for, where the target may say how many threads and which
/// cores; [`ProtocolSettings::on`] makes a [`Protocol`] of it.
pub type ProtocolSettings = ProtocolOf<Option<usize>, Option<Vec<usize>>>;

/// The one declaration of [`Protocol`] and [`ProtocolSettings`], which differ in whether
/// threads and cores may be left open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    bound(
        serialize = "Threads: Serialize, Cores: Serialize + CoreList",
        deserialize = "Threads: Deserialize<'de>, Cores: Deserialize<'de>, ProtocolOf<Threads, Cores>: Default"
    )
)]
pub struct ProtocolOf<Threads, Cores> {
    /// Batch size and sequence length of every run.
    pub workload: Workload,
    /// What the weights of the measured architectures are. The reference and the baselines are
    /// of [`Precision::F32`] whatever this says, so that speed-ups compare.
    pub precision: Precision,
    /// Threads of the runtime; where left open what the target says, else one.
    pub threads: Threads,
    /// Logical cores that the agent is pinned to; none leaves it to the system. Where left
    /// open those of the target.
    #[serde(skip_serializing_if = "CoreList::is_none")]
    pub cores: Cores,
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

/// A list of cores that may be none.
pub trait CoreList {
    /// No core is named.
    fn is_none(&self) -> bool;
}

impl CoreList for Vec<usize> {
    fn is_none(&self) -> bool {
        self.is_empty()
    }
}

impl CoreList for Option<Vec<usize>> {
    fn is_none(&self) -> bool {
        Option::is_none(self)
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self::with(1, Vec::new())
    }
}

impl Default for ProtocolSettings {
    fn default() -> Self {
        Self::with(None, None)
    }
}

impl Checked for Protocol {
    fn check(&self, at: &mut Check) {
        self.check_all(Some(self.threads), &self.cores, at);
    }
}

impl Checked for ProtocolSettings {
    fn check(&self, at: &mut Check) {
        self.check_all(self.threads, self.cores.as_deref().unwrap_or_default(), at);
    }
}

impl<Threads, Cores> ProtocolOf<Threads, Cores> {
    fn with(threads: Threads, cores: Cores) -> Self {
        let layer = atb_space::Layer { intermediate: 1024, heads: 4, qkv: 256 };
        Self {
            workload: Workload::default(),
            precision: Precision::default(),
            threads,
            cores,
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

    /// The ranges, of whichever threads and cores are given.
    fn check_all(&self, threads: Option<usize>, cores: &[usize], at: &mut Check) {
        at.nested("workload", &self.workload);
        at.optional("threads", threads, THREADS);
        check_cores(cores, at);
        at.range("settle_runs", self.settle_runs, 0..=1_000);
        at.range("min_pairs", self.min_pairs, 1..=100_000);
        at.range("max_pairs", self.max_pairs, 1..=100_000);
        let enough = self.max_pairs >= self.min_pairs;
        at.that(
            "max_pairs",
            self.max_pairs,
            enough,
            format!("at least min_pairs, {}", self.min_pairs),
        );
        at.range("ratio_half_width", self.ratio_half_width, 0.0..=1.0);
        at.range("max_seconds", self.max_seconds, 0.0..=86_400.0);
        at.nested("warm_up", &self.warm_up);
        at.nested("drift", &self.drift);
        at.range("vocabulary", self.vocabulary, 1..=1_000_000);
    }
}

/// How many threads a runtime may have.
pub const THREADS: RangeInclusive<usize> = 1..=1_024;

/// States what the key `cores`, a list of logical cores, may hold: as many as a set of them has
/// room for in the systems' interface.
pub fn check_cores(cores: &[usize], at: &mut Check) {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let shown = || format!("{cores:?}");
    at.that("cores", shown(), sorted.len() == cores.len(), "each core once");
    at.that("cores", shown(), cores.iter().all(|&core| core < 1_024), "cores from 0 to 1023");
}

impl ProtocolSettings {
    /// The protocol on a target that says how many threads and which cores, where the
    /// settings leave that open.
    #[must_use]
    pub fn on(self, threads: Option<usize>, cores: &[usize]) -> Protocol {
        let Self {
            workload,
            precision,
            threads: asked,
            cores: pinned,
            reference,
            settle_runs,
            min_pairs,
            max_pairs,
            ratio_half_width,
            max_seconds,
            warm_up,
            drift,
            vocabulary,
            seed,
        } = self;
        Protocol {
            workload,
            precision,
            threads: asked.or(threads).unwrap_or(1),
            cores: pinned.unwrap_or_else(|| cores.to_vec()),
            reference,
            settle_runs,
            min_pairs,
            max_pairs,
            ratio_half_width,
            max_seconds,
            warm_up,
            drift,
            vocabulary,
            seed,
        }
    }
}
