//! How a search goes: its strategy and its settings.

use atb_settings::{Check, Checked};
use serde::{Deserialize, Serialize};

use crate::Mutation;

/// How candidates are chosen for evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A sample of the candidates.
    Random,
    /// A sample of those that follow the paper's rule, see [`Candidates::fast`](crate::Candidates::fast).
    Fast,
    /// The paper's evolutionary search.
    #[default]
    Evolved,
    /// Evolution whose children are first tried on a model of the fitness learnt from what
    /// was evaluated; far fewer evaluations lead as far.
    Guided,
    /// NSGA-II over fitness and latency: a whole Pareto front in one search. Wants a wide
    /// latency band.
    Front,
}

/// Settings of a search; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How candidates are chosen.
    pub strategy: Strategy,
    /// Seed of every random choice: the same seed gives the same search.
    pub seed: u64,
    /// Architectures a generation.
    pub population: usize,
    /// Generations, the first, random one included. Strategies without generations
    /// evaluate `population * generations` candidates.
    pub generations: usize,
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
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            seed: 0,
            population: 25,
            generations: 4,
            fresh: 0.5,
            crossover: 0.0,
            mutation: Mutation::default(),
            threads: 1,
        }
    }
}

impl Settings {
    /// The same number of evaluations as the paper's in more and smaller generations, with
    /// crossover and fewer fresh candidates: finds good architectures more often.
    #[must_use]
    pub fn steady() -> Self {
        Self { population: 10, generations: 10, fresh: 0.2, crossover: 0.3, ..Self::default() }
    }

    /// Most architectures that the search evaluates.
    #[must_use]
    pub fn evaluations(&self) -> usize {
        self.population * self.generations
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
