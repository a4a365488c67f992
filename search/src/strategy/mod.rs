//! The strategies that there are, one file each, and the settings of a search.
//!
//! A strategy is known everywhere by its entry in [`Strategy::ALL`]: in configuration files, on
//! the command line and in the files that a search writes.

mod evolutionary;
mod fast;
mod genetic;
mod nsga2;
mod random;
mod surrogate_assisted;

use std::fmt;
use std::str::FromStr;

use atb_settings::{Check, Checked};
use rand_chacha::ChaCha8Rng;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::evaluate::Evaluator;
use crate::{Candidates, Mutation, SearchError};

/// How candidates are chosen for evaluation.
#[derive(Clone, Copy)]
pub struct Strategy {
    /// What it is called in files and on the command line.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// The settings that it uses besides those of every search (`seed`, `threads`).
    pub settings: &'static [&'static str],
    /// Whether what it looks for is a Pareto front rather than one architecture.
    pub is_multi_objective: bool,
    /// Names that it had in former versions.
    former_names: &'static [&'static str],
    defaults: Defaults,
    /// What it leaves of the candidates before it begins.
    narrow: Option<Narrow>,
    search: Search,
}

type Narrow = for<'a> fn(&Candidates<'a>) -> Result<Candidates<'a>, SearchError>;
type Search = fn(&mut Evaluator<'_>, &Settings, &mut ChaCha8Rng) -> Result<(), SearchError>;

/// Defaults that differ between the strategies.
#[derive(Clone, Copy)]
struct Defaults {
    population: usize,
    generations: usize,
    fresh: f64,
    crossover: f64,
}

impl Defaults {
    /// The paper's.
    const PAPER: Self = Self { population: 25, generations: 4, fresh: 0.5, crossover: 0.0 };
}

impl Strategy {
    /// All strategies, the default one first.
    pub const ALL: &[Self] = &[
        Self::EVOLUTIONARY,
        Self::GENETIC,
        Self::SURROGATE_ASSISTED,
        Self::NSGA2,
        Self::RANDOM,
        Self::FAST,
    ];

    /// Their names.
    const NAMES: [&str; Self::ALL.len()] = {
        let mut names = [""; Self::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = Self::ALL[index].name;
            index += 1;
        }
        names
    };

    /// Names of former versions, each with the present one.
    pub fn former_names() -> impl Iterator<Item = (&'static str, &'static str)> {
        let of = |strategy: &'static Self| {
            strategy.former_names.iter().map(move |former| (*former, strategy.name))
        };
        Self::ALL.iter().flat_map(of)
    }

    /// Whether its architectures arise by mutation, so that some may not be among the
    /// candidates that a scan found.
    pub(crate) fn mutates(&self) -> bool {
        self.settings.contains(&"mutation")
    }

    pub(crate) fn narrow<'a>(
        &self,
        candidates: &Candidates<'a>,
    ) -> Result<Option<Candidates<'a>>, SearchError> {
        self.narrow.map(|narrow| narrow(candidates)).transpose()
    }

    pub(crate) fn search(
        &self,
        evaluator: &mut Evaluator<'_>,
        settings: &Settings,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), SearchError> {
        (self.search)(evaluator, settings, rng)
    }
}

/// A name that no strategy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UnknownStrategy {
    #[error("the strategy `{old}` is now called `{new}`")]
    #[diagnostic(help("write `{new}` instead"))]
    Renamed { old: String, new: &'static str },
    #[error("there is no strategy `{name}`")]
    #[diagnostic(help("known: {}", Strategy::NAMES.join(", ")))]
    Unknown { name: String },
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        if let Some(strategy) = Self::ALL.iter().find(|strategy| strategy.name == name) {
            return Ok(*strategy);
        }
        let former = Self::former_names().find(|(old, _)| *old == name);
        Err(match former {
            Some((old, new)) => UnknownStrategy::Renamed { old: old.to_owned(), new },
            None => UnknownStrategy::Unknown { name: name.to_owned() },
        })
    }
}

impl PartialEq for Strategy {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Strategy {}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl Serialize for Strategy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// By any name that it has or had: files that former versions wrote load. Configurations
/// refuse former names before it comes to this.
impl<'de> Deserialize<'de> for Strategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        static NAMES: [&str; Strategy::ALL.len()] = Strategy::NAMES;
        let name = String::deserialize(deserializer)?;
        let named = |strategy: &&Self| {
            strategy.name == name || strategy.former_names.contains(&name.as_str())
        };
        let found = Self::ALL.iter().find(named).copied();
        found.ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

/// Settings of a search. Those that a configuration leaves out are the strategy's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// How candidates are chosen.
    pub strategy: Strategy,
    /// Seed of every random choice: the same seed gives the same search.
    pub seed: u64,
    /// Architectures per generation.
    pub population: usize,
    /// Generations, the first one included. Strategies without generations
    /// evaluate `population * generations` candidates.
    pub generations: usize,
    /// Whether half of the first generation are the largest candidates of each depth, by encoder
    /// parameters and by hidden size. The paper's evolution begins at random.
    pub seeded: bool,
    /// Probability that a child is a fresh candidate and not a mutant.
    pub fresh: f64,
    /// Probability that a child that is not fresh has two parents, each size from either,
    /// before it mutates. The paper has none.
    pub crossover: f64,
    /// How mutants differ from their parent.
    pub mutation: Mutation,
    /// Architectures evaluated at a time.
    pub threads: usize,
}

impl Default for Settings {
    /// The paper's evolution.
    fn default() -> Self {
        Self::of(Strategy::ALL[0])
    }
}

impl Settings {
    /// The defaults of a strategy.
    #[must_use]
    pub fn of(strategy: Strategy) -> Self {
        let Defaults { population, generations, fresh, crossover } = strategy.defaults;
        Self {
            strategy,
            seed: 0,
            population,
            generations,
            seeded: true,
            fresh,
            crossover,
            mutation: Mutation::default(),
            threads: 1,
        }
    }

    /// Most architectures that the search evaluates.
    #[must_use]
    pub fn evaluations(&self) -> usize {
        self.population * self.generations
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// What is written; the rest is the strategy's.
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Written {
            strategy: Option<Strategy>,
            seed: Option<u64>,
            population: Option<usize>,
            generations: Option<usize>,
            seeded: Option<bool>,
            fresh: Option<f64>,
            crossover: Option<f64>,
            mutation: Option<Mutation>,
            threads: Option<usize>,
        }
        let written = Written::deserialize(deserializer)?;
        let default = written.strategy.map_or_else(Self::default, Self::of);
        Ok(Self {
            strategy: default.strategy,
            seed: written.seed.unwrap_or(default.seed),
            population: written.population.unwrap_or(default.population),
            generations: written.generations.unwrap_or(default.generations),
            seeded: written.seeded.unwrap_or(default.seeded),
            fresh: written.fresh.unwrap_or(default.fresh),
            crossover: written.crossover.unwrap_or(default.crossover),
            mutation: written.mutation.unwrap_or(default.mutation),
            threads: written.threads.unwrap_or(default.threads),
        })
    }
}

impl Checked for Settings {
    fn check(&self, at: &mut Check) {
        at.range("population", self.population, 1..=100_000);
        at.range("generations", self.generations, 1..=100_000);
        at.range("fresh", self.fresh, 0.0..=1.0);
        at.range("crossover", self.crossover, 0.0..=1.0);
        at.nested("mutation", &self.mutation);
        at.range("threads", self.threads, 1..=1_024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_one_strategy_and_every_setting_is_one() {
        let settings = serde_json::to_value(Settings::default()).expect("JSON");
        let mut names = std::collections::BTreeSet::new();
        for strategy in Strategy::ALL {
            assert_eq!(strategy.name.parse(), Ok(*strategy));
            assert!(names.insert(strategy.name), "{strategy} twice");
            for setting in strategy.settings {
                assert!(settings.get(setting).is_some(), "{strategy}: {setting}");
            }
            assert!(Settings::of(*strategy).checked().is_ok(), "{strategy}");
        }
        for (old, new) in Strategy::former_names() {
            assert!(names.insert(old), "{old} twice");
            let error = old.parse::<Strategy>().expect_err("a former name").to_string();
            assert_eq!(error, format!("the strategy `{old}` is now called `{new}`"));
            // A file of a former version loads.
            let read: Strategy = serde_json::from_value(old.into()).expect("known");
            assert_eq!(read.name, new);
        }
        let unknown = "wishful".parse::<Strategy>().expect_err("unknown").to_string();
        assert_eq!(unknown, "there is no strategy `wishful`");
        let unknown = serde_json::from_str::<Strategy>("\"wishful\"").expect_err("unknown");
        assert!(unknown.to_string().contains("expected one of `evolutionary`"), "{unknown}");
    }

    #[test]
    fn what_is_not_written_is_the_strategys() {
        let read = |text: &str| serde_json::from_str::<Settings>(text).expect(text);
        assert_eq!(read("{}"), Settings::default());
        assert_eq!(read(r#"{"strategy": "genetic"}"#), Settings::of(Strategy::GENETIC));
        let settings = read(r#"{"strategy": "genetic", "generations": 3, "seed": 7}"#);
        let expected = Settings { generations: 3, seed: 7, ..Settings::of(Strategy::GENETIC) };
        assert_eq!(settings, expected);
        let text = serde_json::to_string(&settings).expect("JSON");
        assert_eq!(read(&text), settings);
        assert!(serde_json::from_str::<Settings>(r#"{"populaton": 3}"#).is_err());
    }
}
