//! The paper's evolutionary search, and the pieces that other strategies share with it.

use atb_space::Architecture;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::{Defaults, Settings, Strategy};
use crate::SearchError;
use crate::evaluate::{Evaluated, Evaluator, best};
use crate::mutation::cross;

impl Strategy {
    /// The paper's evolutionary search.
    pub const EVOLUTIONARY: Self = Self {
        name: "evolutionary",
        about: "The paper's evolutionary search",
        settings: &["population", "generations", "seeded", "fresh", "crossover", "mutation"],
        is_multi_objective: false,
        former_names: &["evolved"],
        defaults: Defaults::PAPER,
        narrow: None,
        search: evolve,
    };
}

/// The paper's evolution, whose first generation may be seeded: the best `population` evaluated so far are the parents; a child
/// is a fresh candidate or a mutant of a parent drawn by roulette.
pub(super) fn evolve(
    evaluator: &mut Evaluator<'_>,
    settings: &Settings,
    rng: &mut ChaCha8Rng,
) -> Result<(), SearchError> {
    let first = evaluator.first_generation(settings.population, settings.seeded, rng);
    evaluator.evaluate(0, &first)?;
    for generation in 1..settings.generations {
        let parents = fittest(&evaluator.history, settings.population);
        let mut children = Vec::new();
        while children.len() < settings.population {
            let child = if rng.random_bool(settings.fresh) {
                None
            } else {
                offspring(evaluator, &parents, settings, rng)
            };
            match child {
                Some(arch) => {
                    evaluator.claim(&arch);
                    children.push(arch);
                }
                None => match evaluator.draw(1, rng).pop() {
                    Some(arch) => children.push(arch),
                    None => break,
                },
            }
        }
        evaluator.evaluate(generation, &children)?;
    }
    Ok(())
}

/// The `count` best of `evaluated`, best first.
pub(super) fn fittest(evaluated: &[Evaluated], count: usize) -> Vec<Evaluated> {
    let mut best = evaluated.to_vec();
    best.sort_by(|a, b| a.fitness.total_cmp(&b.fitness));
    best.truncate(count);
    best
}

/// How often a child that is no candidate or already known is replaced by another one.
const ATTEMPTS: usize = 200;

/// A child of parents drawn by roulette that is a candidate and not known yet.
pub(super) fn offspring(
    evaluator: &Evaluator<'_>,
    parents: &[Evaluated],
    settings: &Settings,
    rng: &mut impl Rng,
) -> Option<Architecture> {
    let parent = &roulette(parents, rng)?.arch;
    (0..ATTEMPTS).find_map(|_| {
        let second = rng.random_bool(settings.crossover).then(|| roulette(parents, rng));
        let second = second.flatten().map(|other| &other.arch);
        child(evaluator, parent, second, settings, rng)
    })
}

/// Claims a child of parents that `pick` draws; a fresh candidate if no child is a candidate
/// and new, `None` once every candidate is known.
pub(super) fn propose<'a>(
    evaluator: &mut Evaluator<'_>,
    settings: &Settings,
    rng: &mut ChaCha8Rng,
    pick: impl Fn(&mut ChaCha8Rng) -> &'a Architecture,
) -> Option<Architecture> {
    let found = (0..ATTEMPTS).find_map(|_| {
        let parent = pick(rng);
        let second = rng.random_bool(settings.crossover).then(|| pick(rng));
        child(evaluator, parent, second, settings, rng)
    });
    match found {
        Some(arch) => {
            evaluator.claim(&arch);
            Some(arch)
        }
        None => evaluator.draw(1, rng).pop(),
    }
}

/// A mutant of one parent, or of a crossing of two, if it is a candidate and not known yet.
fn child(
    evaluator: &Evaluator<'_>,
    parent: &Architecture,
    second: Option<&Architecture>,
    settings: &Settings,
    rng: &mut impl Rng,
) -> Option<Architecture> {
    let candidates = evaluator.candidates;
    let crossed = match second {
        Some(second) => cross(parent, second, candidates.space(), rng)?,
        None => parent.clone(),
    };
    settings
        .mutation
        .apply(&crossed, candidates.space(), rng)
        .filter(|arch| !evaluator.knows(arch) && candidates.admits(arch))
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

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
