//! The search itself and its outcome.

use atb_ranks::Ranks;
use atb_settings::Checked;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::evaluate::{Evaluated, Evaluator, Observer};
use crate::{Candidates, Fitness, SearchError, Settings, Store, Strategy};

/// Version of the schema of [`Outcome`]; files of before it have none.
pub const SCHEMA: u32 = 1;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Version of the schema, [`SCHEMA`] when written by this version.
    #[serde(default)]
    pub schema: u32,
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
/// computed again, so a search that was interrupted resumes where it stopped; `observer`
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
    search_across(&Ranks::alone(), candidates, fitness, store, settings, observer)
}

/// [`search`] by all ranks of a job, each of which calls this with the same candidates, fitness and
/// settings: whoever is free evaluates the next architecture. What comes out is what one rank finds.
/// Only rank 0 has a store that counts, which holds every value as soon as it is there, and an
/// observer that hears of them.
///
/// # Errors
/// As [`search`]. Whoever gets an error ends the job: the other ranks wait for this one.
pub fn search_across(
    ranks: &Ranks,
    candidates: &Candidates<'_>,
    fitness: &dyn Fitness,
    store: &mut Store,
    settings: &Settings,
    observer: &mut Observer<'_>,
) -> Result<Outcome, SearchError> {
    settings.checked()?;
    let strategy = settings.strategy;
    let narrowed = strategy.narrow(candidates)?;
    let pool = narrowed.as_ref().unwrap_or(candidates);
    let mut evaluator = Evaluator::new(ranks, pool, fitness, store, observer, settings.threads)?;
    let available = usize::try_from(pool.len()).unwrap_or(usize::MAX);
    // Mutants whose layers differ are not among the scanned candidates.
    evaluator.planned = match strategy.mutates() && pool.space().per_layer {
        true => settings.evaluations(),
        false => settings.evaluations().min(available),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    strategy.search(&mut evaluator, settings, &mut rng)?;
    let computed = evaluator.computed;
    let mut ranking = evaluator.history;
    ranking.sort_by(|a, b| a.fitness.total_cmp(&b.fitness).then_with(|| a.arch.cmp(&b.arch)));
    Ok(Outcome {
        schema: SCHEMA,
        strategy,
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
