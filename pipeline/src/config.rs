//! The configuration of a run, a TOML file. `examples/host.toml` documents every key.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use atb_measurements::{DriftRule, Protocol, WarmUp};
use atb_search::{Budget, Limits, Settings};
use atb_space::{Architecture, Space, Workload};
use atb_targets::Target;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::PipelineError;

/// What a run is to do; every key has a default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The device: a built-in name or a target file.
    pub target: String,
    /// The search space.
    pub space: SpaceChoice,
    /// The SuperPLM: a model folder, `auto` for the built-in one, or `teacher`.
    pub superplm: String,
    /// Folder of everything that the run makes.
    pub output: PathBuf,
    /// The latency budget.
    pub budget: BudgetConfig,
    /// What is measured.
    pub profile: ProfileConfig,
    /// How the measuring is done.
    pub protocol: ProtocolConfig,
    /// How the search goes.
    pub search: Settings,
    /// What the search minimises.
    pub fitness: FitnessConfig,
    /// How many of the best of the search are measured before one is chosen.
    pub finalists: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: "local".to_owned(),
            space: SpaceChoice(Space::paper_kd()),
            superplm: "auto".to_owned(),
            output: PathBuf::from("atb-run"),
            budget: BudgetConfig::default(),
            profile: ProfileConfig::default(),
            protocol: ProtocolConfig::default(),
            search: Settings::default(),
            fitness: FitnessConfig::default(),
            finalists: 3,
        }
    }
}

/// A space by name (`kd`, `mlm`) or written out as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceChoice(pub Space);

impl<'de> Deserialize<'de> for SpaceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;

        impl<'de> Visitor<'de> for Choice {
            type Value = SpaceChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`kd`, `mlm` or a table with name, layers, hidden, intermediate, heads and qkv",
                )
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<SpaceChoice, E> {
                let unknown = || E::invalid_value(serde::de::Unexpected::Str(name), &self);
                Space::by_name(name).map(SpaceChoice).ok_or_else(unknown)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SpaceChoice, A::Error> {
                Space::deserialize(MapAccessDeserializer::new(map)).map(SpaceChoice)
            }
        }

        deserializer.deserialize_any(Choice)
    }
}

impl SpaceChoice {
    /// The paper's space of that name, or the one in the TOML file of that name.
    ///
    /// # Errors
    /// [`PipelineError`] if it is neither, or the file is no space.
    pub fn find(choice: &str) -> Result<Space, PipelineError> {
        if let Some(space) = Space::by_name(choice) {
            return Ok(space);
        }
        let path = Path::new(choice);
        if !path.exists() {
            return Err(PipelineError::Setting {
                key: "the space",
                value: format!("`{choice}`"),
                expected: "`kd`, `mlm` or a TOML file with name, layers, hidden, intermediate, heads and qkv",
            });
        }
        let space: Space = read_toml(path)?;
        space.validate()?;
        Ok(space)
    }
}

/// Reads a TOML file, naming the line of what is wrong in it.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, PipelineError> {
    let text = std::fs::read_to_string(path).map_err(PipelineError::io(path))?;
    toml::from_str(&text).map_err(|error| PipelineError::Config {
        path: path.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    })
}

/// The latency budget: milliseconds or a speed-up, one of the two.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// The latency aimed at, in milliseconds on the target.
    pub latency_ms: Option<f64>,
    /// How many times faster than `against` on the target.
    pub speedup: Option<f64>,
    /// The architecture that speed-ups are quoted against.
    pub against: Architecture,
    /// Lower end of the band around the budget, as a multiple of it.
    pub low: f64,
    /// Upper end of the band around the budget, as a multiple of it.
    pub high: f64,
    /// If given, the upper end of the prediction's interval of this level (0 to 1) must
    /// not lie above the band.
    pub level: Option<f64>,
    /// Limits on the size.
    pub limits: Limits,
}

/// The speed-up that is aimed at when no budget is given.
const DEFAULT_SPEEDUP: f64 = 16.0;

impl Default for BudgetConfig {
    fn default() -> Self {
        let Budget { low, high, level, limits, .. } = Budget::paper(1.0);
        let against = Architecture::bert_base();
        Self { latency_ms: None, speedup: None, against, low, high, level, limits }
    }
}

/// What a budget aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// A latency in milliseconds.
    Milliseconds(f64),
    /// A speed-up against [`BudgetConfig::against`].
    Speedup(f64),
}

impl BudgetConfig {
    /// What is aimed at.
    ///
    /// # Errors
    /// [`PipelineError::Setting`] if it is not a positive number or both are given.
    pub(crate) fn aim(&self) -> Result<Aim, PipelineError> {
        let positive = |key, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(value);
            }
            let expected = "a positive number";
            Err(PipelineError::Setting { key, value: value.to_string(), expected })
        };
        match (self.latency_ms, self.speedup) {
            (Some(latency_ms), None) => {
                positive("budget.latency_ms", latency_ms).map(Aim::Milliseconds)
            }
            (None, speedup) => {
                positive("budget.speedup", speedup.unwrap_or(DEFAULT_SPEEDUP)).map(Aim::Speedup)
            }
            (Some(_), Some(speedup)) => Err(PipelineError::Setting {
                key: "budget.speedup",
                value: speedup.to_string(),
                expected: "no speed-up where budget.latency_ms is given: one of the two",
            }),
        }
    }

    /// The budget of `target_ms` milliseconds.
    pub(crate) fn at(&self, target_ms: f64) -> Budget {
        let Self { low, high, level, limits, .. } = *self;
        Budget { target_ms, low, high, level, limits }
    }
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// Architectures measured to fit the predictor on.
    pub samples: usize,
    /// Of these, how many are measured twice, to know what the measurements are worth.
    pub retests: usize,
    /// Seed of which ones they are.
    pub seed: u64,
    /// How they are chosen.
    pub sampling: Sampling,
    /// Measured besides, so that speed-ups can be quoted against them.
    pub baselines: Vec<Architecture>,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        let baselines = vec![Architecture::bert_base()];
        Self { samples: 36, retests: 6, seed: 0, sampling: Sampling::Designed, baselines }
    }
}

/// How the architectures to measure are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Those that tell a predictor most, the space's corners included.
    Designed,
    /// Each gene uniformly: to test a predictor on, as a search would draw them.
    Uniform,
}

/// How the measuring is done. It becomes a [`Protocol`] on a target, whose file says which
/// cores and how many threads where nothing else is asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProtocolConfig {
    /// Batch and sequence length of every run.
    pub workload: Workload,
    /// Threads of the runtime; what the target file says, or one, if absent.
    pub threads: Option<NonZeroUsize>,
    /// Logical cores that the agent is pinned to; those of the target file if absent.
    pub cores: Option<Vec<usize>>,
    /// As in [`Protocol`], like all that follow.
    pub reference: Architecture,
    /// Runs that bring a model back into the caches.
    pub settle_runs: usize,
    /// Fewest pairs.
    pub min_pairs: usize,
    /// Most pairs.
    pub max_pairs: usize,
    /// Half width of the ratio's confidence interval that is enough.
    pub ratio_half_width: f64,
    /// Seconds that are enough.
    pub max_seconds: f64,
    /// The warm-up of each model.
    pub warm_up: WarmUp,
    /// What to do when the device gets slower.
    pub drift: DriftRule,
    /// Entries of the random word embeddings.
    pub vocabulary: usize,
    /// Seed of the random weights and tokens.
    pub seed: u64,
}

impl Default for ProtocolConfig {
    fn default() -> Self {
        let Protocol {
            workload,
            threads: _,
            cores: _,
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
        } = Protocol::default();
        Self {
            workload,
            threads: None,
            cores: None,
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

impl ProtocolConfig {
    /// The protocol on `target`.
    #[must_use]
    pub fn on(&self, target: &Target) -> Protocol {
        let threads = self.threads.map(NonZeroUsize::get).or(target.threads);
        Protocol {
            workload: self.workload,
            threads: threads.unwrap_or(Protocol::default().threads),
            cores: self.cores.clone().unwrap_or_else(|| target.cores.clone()),
            reference: self.reference.clone(),
            settle_runs: self.settle_runs,
            min_pairs: self.min_pairs,
            max_pairs: self.max_pairs,
            ratio_half_width: self.ratio_half_width,
            max_seconds: self.max_seconds,
            warm_up: self.warm_up,
            drift: self.drift,
            vocabulary: self.vocabulary,
            seed: self.seed,
        }
    }
}

/// What the search minimises: a loss on held-out text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitnessConfig {
    /// Which loss.
    pub loss: Loss,
    /// Held-out text, one paragraph a line; a built-in one if absent.
    pub text: Option<PathBuf>,
    /// Tokens a paragraph is cut to.
    pub sequence: usize,
    /// Most paragraphs.
    pub paragraphs: usize,
}

impl Default for FitnessConfig {
    fn default() -> Self {
        Self { loss: Loss::Kd, text: None, sequence: 64, paragraphs: 32 }
    }
}

/// A loss of sub-models on held-out text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The distance from the teacher's hidden states and attention scores.
    Kd,
    /// The cross-entropy of masked tokens, for a SuperPLM that was trained by it.
    Mlm,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`PipelineError::Config`] naming the line of an unknown key or a wrong type.
    pub fn read(path: &Path) -> Result<Self, PipelineError> {
        read_toml(path)
    }

    /// Reads a configuration from its text.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_the_default_written_out() {
        let example = include_str!("../../examples/host.toml");
        let written = Config::parse(example).expect("the example parses");
        let speedup = written.budget.speedup;
        assert_eq!(speedup, Some(DEFAULT_SPEEDUP));
        let budget = BudgetConfig { speedup: None, ..written.budget };
        assert_eq!(Config { budget, ..written }, Config::default());
    }

    #[test]
    fn the_example_without_a_device_has_a_simulated_target() {
        let example = include_str!("../../examples/simulated.toml");
        let config = Config::parse(example).expect("the example parses");
        let target = Target::find(&config.target).expect("built in");
        assert_eq!(target.transport.kind(), "simulated");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = |text: &str| Config::parse(text).expect_err("invalid").to_string();
        let unknown = error("target = \"local\"\nbuget = 3\n");
        assert!(unknown.contains("line 2") && unknown.contains("buget"), "{unknown}");
        let wrong_type = error("[budget]\nspeedup = \"fast\"\n");
        assert!(wrong_type.contains("line 2") && wrong_type.contains("f64"), "{wrong_type}");
        let no_space = error("target = \"local\"\nspace = \"moon\"\n");
        assert!(no_space.contains("line 2") && no_space.contains("moon"), "{no_space}");
        let misspelt = error("[space]\nname = \"x\"\nlayer = 3\n");
        assert!(misspelt.contains("layer"), "{misspelt}");
        let no_threads = error("[protocol]\nthreads = 0\n");
        assert!(no_threads.contains("line 2") && no_threads.contains("nonzero"), "{no_threads}");
        let deep = error("[protocol.warm_up]\nmin_run = 3\n");
        assert!(deep.contains("line 2") && deep.contains("min_run"), "{deep}");
    }

    #[test]
    fn the_target_says_what_the_job_leaves_open() {
        let target = "name = \"pi\"\ncores = [2, 3]\nthreads = 2\ntransport = { kind = \"local\" }";
        let target = Target::parse(target, "pi.toml").expect("a target");
        let this_machine = Target::find("local").expect("built in");
        let protocol = |text: &str, target| {
            let Protocol { threads, cores, .. } =
                Config::parse(text).expect(text).protocol.on(target);
            (threads, cores)
        };
        assert_eq!(Config::default().protocol.on(&this_machine), Protocol::default());
        assert_eq!(protocol("", &target), (2, vec![2, 3]));
        assert_eq!(protocol("protocol.threads = 1", &target), (1, vec![2, 3]));
        assert_eq!(protocol("protocol.cores = [0]", &target), (2, vec![0]));
        assert_eq!(protocol("protocol.cores = []", &target), (2, vec![]));
    }

    #[test]
    fn a_budget_is_one_of_two() {
        let aim = |text: &str| Config::parse(text).expect(text).budget.aim();
        assert_eq!(aim("").expect("a default"), Aim::Speedup(DEFAULT_SPEEDUP));
        assert_eq!(aim("budget.latency_ms = 4").expect("valid"), Aim::Milliseconds(4.0));
        assert_eq!(
            aim("budget = { latency_ms = 4.0, speedup = 2.0 }").expect_err("both").to_string(),
            "budget.speedup is 2; expected no speed-up where budget.latency_ms is given: one of \
             the two"
        );
        assert!(aim("budget.speedup = -1").is_err());
    }
}
