//! The search itself: settings, strategies and the outcome.

use atb_space::Architecture;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::evaluate::{Evaluated, Evaluator, Observer, best};
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
            mutation: Mutation::default(),
            threads: 1,
        }
    }
}

impl Settings {
    fn check(&self) -> Result<(), SearchError> {
        for (key, value) in [("population", self.population), ("generations", self.generations)] {
            if value == 0 {
                let value = value.to_string();
                return Err(SearchError::Setting { key, value, expected: "at least 1" });
            }
        }
        if !(0.0..=1.0).contains(&self.fresh) {
            return Err(SearchError::Setting {
                key: "fresh",
                value: self.fresh.to_string(),
                expected: "a number from 0 to 1",
            });
        }
        self.mutation.check()
    }

    /// Most architectures that the search evaluates.
    #[must_use]
    pub fn evaluations(&self) -> usize {
        self.population * self.generations
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
    settings.check()?;
    let fast;
    let pool = match settings.strategy {
        Strategy::Fast => {
            fast = candidates.fast()?;
            &fast
        }
        Strategy::Random | Strategy::Evolved => candidates,
    };
    let mut evaluator = Evaluator::new(pool, fitness, store, observer, settings.threads)?;
    let available = usize::try_from(pool.len()).unwrap_or(usize::MAX);
    evaluator.planned = match settings.strategy {
        // Mutants of layers that differ are not among the scanned candidates.
        Strategy::Evolved if pool.space().per_layer => settings.evaluations(),
        _ => settings.evaluations().min(available),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    match settings.strategy {
        Strategy::Random | Strategy::Fast => {
            let sample = draw(&mut evaluator, settings.evaluations(), &mut rng);
            evaluator.evaluate(0, &sample)?;
        }
        Strategy::Evolved => evolve(&mut evaluator, settings, &mut rng)?,
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

/// Up to `count` candidates not proposed before.
fn draw(evaluator: &mut Evaluator<'_>, count: usize, rng: &mut impl Rng) -> Vec<Architecture> {
    let mut drawn = Vec::new();
    while drawn.len() < count {
        let fresh = evaluator.candidates.sample(rng, |arch| evaluator.knows(arch));
        let Some(arch) = fresh else { break };
        evaluator.claim(&arch);
        drawn.push(arch);
    }
    drawn
}

/// The paper's evolution: the best `population` evaluated so far are the parents; a child
/// is a fresh candidate or a mutant of a parent drawn by roulette.
fn evolve(
    evaluator: &mut Evaluator<'_>,
    settings: &Settings,
    rng: &mut impl Rng,
) -> Result<(), SearchError> {
    let first = draw(evaluator, settings.population, rng);
    evaluator.evaluate(0, &first)?;
    for generation in 1..settings.generations {
        let mut parents = evaluator.history.clone();
        parents.sort_by(|a, b| a.fitness.total_cmp(&b.fitness));
        parents.truncate(settings.population);
        let mut children = Vec::new();
        while children.len() < settings.population {
            let mutant = if rng.random_bool(settings.fresh) {
                None
            } else {
                mutate(evaluator, &parents, &settings.mutation, rng)
            };
            match mutant {
                Some(arch) => {
                    evaluator.claim(&arch);
                    children.push(arch);
                }
                None => match draw(evaluator, 1, rng).pop() {
                    Some(arch) => children.push(arch),
                    None => break,
                },
            }
        }
        evaluator.evaluate(generation, &children)?;
    }
    Ok(())
}

/// How often a mutant that is no candidate or already known is replaced by another one.
const ATTEMPTS: usize = 200;

fn mutate(
    evaluator: &Evaluator<'_>,
    parents: &[Evaluated],
    mutation: &Mutation,
    rng: &mut impl Rng,
) -> Option<Architecture> {
    let parent = roulette(parents, rng)?;
    let candidates = evaluator.candidates;
    (0..ATTEMPTS)
        .filter_map(|_| mutation.apply(&parent.arch, candidates.space(), rng))
        .find(|arch| !evaluator.knows(arch) && candidates.admits(arch))
}

/// A parent drawn with a probability proportional to how much better it is than the worst.
fn roulette<'a>(parents: &'a [Evaluated], rng: &mut impl Rng) -> Option<&'a Evaluated> {
    let worst = parents.iter().map(|parent| parent.fitness).fold(f64::MIN, f64::max);
    let total: f64 = parents.iter().map(|parent| worst - parent.fitness).sum();
    let mut point = rng.random_range(0.0..1.0) * total;
    for parent in parents {
        point -= worst - parent.fitness;
        if point < 0.0 {
            return Some(parent);
        }
    }
    // All alike, or rounding used the point up.
    best(parents)
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

    #[test]
    fn roulette_prefers_the_better_and_never_draws_the_worst() {
        let parents: Vec<Evaluated> = [1.0, 2.0, 4.0]
            .into_iter()
            .map(|fitness| Evaluated { arch: Architecture::bert_base(), latency_ms: 1.0, fitness })
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn = [0; 3];
        for _ in 0..1000 {
            let fitness = roulette(&parents, &mut rng).expect("parents").fitness;
            drawn[parents.iter().position(|parent| parent.fitness == fitness).expect("one")] += 1;
        }
        // Shares of 3 / 5 and 2 / 5.
        assert!((550..650).contains(&drawn[0]) && drawn[2] == 0, "{drawn:?}");
        assert!(roulette(&parents[2..], &mut rng).is_some());
        assert!(roulette(&[], &mut rng).is_none());
    }
}
