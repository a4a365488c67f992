//! The search itself: settings, strategies and the outcome.

use atb_settings::{Check, Checked};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::evaluate::{Evaluated, Evaluator, Observer};
use crate::evolve::evolve;
use crate::guide::guide;
use crate::nsga::nsga;
use crate::{Candidates, Fitness, Mutation, SearchError, Store};

/// How candidates are chosen for evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A sample of the candidates.
    Random,
    /// A sample of those that follow the paper's rule, see [`Candidates::fast`].
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

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How candidates were chosen.
    pub strategy: Strategy,
    /// Seed of the search.
    pub seed: u64,
    /// Architectures whose latency was predicted.
    pub scanned: u64,
    /// Those that met the budget.
    pub candidates: u64,
    /// Fitness values that this run computed; the others were in the store.
    pub computed: usize,
    /// Every evaluated architecture, best first.
    pub ranking: Vec<Evaluated>,
    /// Those that no other beats in both latency and fitness, fastest first.
    pub front: Vec<Evaluated>,
}

impl Outcome {
    /// The architecture of the best fitness.
    #[must_use]
    pub fn winner(&self) -> Option<&Evaluated> {
        self.ranking.first()
    }
}

/// Searches `candidates` for the lowest `fitness`. Values already in `store` are not
/// computed again, so a search that was interrupted goes on where it stopped; `observer`
/// hears of every evaluation.
///
/// # Errors
/// [`SearchError`] if the settings make no sense, an evaluation fails or the store cannot
/// be written; what was evaluated until then is in the store.
pub fn search(
    candidates: &Candidates<'_>,
    fitness: &dyn Fitness,
    store: &mut Store,
    settings: &Settings,
    observer: &mut Observer<'_>,
) -> Result<Outcome, SearchError> {
    settings.checked()?;
    let fast;
    let pool = match settings.strategy {
        Strategy::Fast => {
            fast = candidates.fast()?;
            &fast
        }
        _ => candidates,
    };
    let mut evaluator = Evaluator::new(pool, fitness, store, observer, settings.threads)?;
    let available = usize::try_from(pool.len()).unwrap_or(usize::MAX);
    evaluator.planned = match settings.strategy {
        // Mutants of layers that differ are not among the scanned candidates.
        Strategy::Random | Strategy::Fast => settings.evaluations().min(available),
        _ if pool.space().per_layer => settings.evaluations(),
        _ => settings.evaluations().min(available),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    match settings.strategy {
        Strategy::Random | Strategy::Fast => {
            let sample = evaluator.draw(settings.evaluations(), &mut rng);
            evaluator.evaluate(0, &sample)?;
        }
        Strategy::Evolved => evolve(&mut evaluator, settings, &mut rng)?,
        Strategy::Guided => guide(&mut evaluator, settings, &mut rng)?,
        Strategy::Front => nsga(&mut evaluator, settings, &mut rng)?,
    }
    let computed = evaluator.computed;
    let mut ranking = evaluator.history;
    ranking.sort_by(|a, b| a.fitness.total_cmp(&b.fitness).then_with(|| a.arch.cmp(&b.arch)));
    Ok(Outcome {
        strategy: settings.strategy,
        seed: settings.seed,
        scanned: candidates.scanned(),
        candidates: pool.len(),
        computed,
        front: pareto_front(&ranking),
        ranking,
    })
}

/// Those of `evaluated` that no other beats in both latency and fitness, fastest first.
#[must_use]
pub fn pareto_front(evaluated: &[Evaluated]) -> Vec<Evaluated> {
    let mut sorted: Vec<&Evaluated> = evaluated.iter().collect();
    sorted.sort_by(|a, b| {
        a.latency_ms.total_cmp(&b.latency_ms).then(a.fitness.total_cmp(&b.fitness))
    });
    let mut front: Vec<Evaluated> = Vec::new();
    for item in sorted {
        if front.last().is_none_or(|last| item.fitness < last.fitness) {
            front.push(item.clone());
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use atb_space::Architecture;

    use super::*;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let item = |latency_ms: f64, fitness: f64| Evaluated {
            arch: Architecture::bert_base(),
            latency_ms,
            fitness,
        };
        let all = [item(3.0, 1.0), item(1.0, 5.0), item(2.0, 5.0), item(2.0, 3.0), item(4.0, 1.0)];
        assert_eq!(pareto_front(&all), [item(1.0, 5.0), item(2.0, 3.0), item(3.0, 1.0)]);
        assert_eq!(pareto_front(&[]), []);
    }
}
