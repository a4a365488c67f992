//! NSGA-II (Deb et al., 2002) over fitness and predicted latency.

use atb_space::Architecture;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::evolutionary::propose;
use super::{Defaults, Settings, Strategy};
use crate::SearchError;
use crate::evaluate::{Evaluated, Evaluator};

impl Strategy {
    /// NSGA-II over fitness and latency: a whole Pareto front in one search. Wants a wide
    /// latency band.
    pub const NSGA2: Self = Self {
        name: "nsga2",
        about: "NSGA-II over loss and latency: a whole Pareto front, for a wide band",
        settings: &["population", "generations", "crossover", "mutation"],
        is_multi_objective: true,
        former_names: &["front"],
        defaults: Defaults::PAPER,
        narrow: None,
        search: nsga2,
    };
}

/// Evolves a population towards the Pareto front: parents win tournaments by rank, then by
/// how alone they are; the population keeps the best ranks of parents and children.
fn nsga2(
    evaluator: &mut Evaluator<'_>,
    settings: &Settings,
    rng: &mut ChaCha8Rng,
) -> Result<(), SearchError> {
    let first = evaluator.draw(settings.population, rng);
    evaluator.evaluate(0, &first)?;
    let mut population = evaluator.history.clone();
    for generation in 1..settings.generations {
        let ranked = rank(&population);
        let pick = |rng: &mut ChaCha8Rng| &population[tournament(&ranked, rng)].arch;
        let children: Vec<Architecture> = (0..settings.population)
            .filter_map(|_| propose(evaluator, settings, rng, pick))
            .collect();
        let before = evaluator.history.len();
        evaluator.evaluate(generation, &children)?;
        population.extend_from_slice(&evaluator.history[before..]);
        let ranked = rank(&population);
        let mut order: Vec<usize> = (0..population.len()).collect();
        order.sort_by(|a, b| ranked[*a].compare(&ranked[*b]));
        order.truncate(settings.population);
        population = order.into_iter().map(|index| population[index].clone()).collect();
    }
    Ok(())
}

/// Where one architecture stands in its population.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    /// Number of fronts that must be taken away before nothing beats it.
    rank: usize,
    /// How far its neighbours on its front are, infinite at the ends.
    crowding: f64,
}

impl Standing {
    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank).then(other.crowding.total_cmp(&self.crowding))
    }
}

fn tournament(ranked: &[Standing], rng: &mut impl Rng) -> usize {
    let (a, b) = (rng.random_range(0..ranked.len()), rng.random_range(0..ranked.len()));
    if ranked[a].compare(&ranked[b]).is_le() { a } else { b }
}

fn rank(population: &[Evaluated]) -> Vec<Standing> {
    let beats = |a: &Evaluated, b: &Evaluated| {
        a.latency_ms <= b.latency_ms
            && a.fitness <= b.fitness
            && (a.latency_ms < b.latency_ms || a.fitness < b.fitness)
    };
    let mut standings = vec![Standing { rank: 0, crowding: 0.0 }; population.len()];
    let mut left: Vec<usize> = (0..population.len()).collect();
    let mut rank = 0;
    while !left.is_empty() {
        let (mut front, rest): (Vec<usize>, Vec<usize>) = left.iter().partition(|&&index| {
            !left.iter().any(|&other| beats(&population[other], &population[index]))
        });
        for &index in &front {
            standings[index].rank = rank;
        }
        for value in [|item: &Evaluated| item.latency_ms, |item: &Evaluated| item.fitness] {
            front.sort_by(|a, b| value(&population[*a]).total_cmp(&value(&population[*b])));
            let (first, last) = (front[0], front[front.len() - 1]);
            let range = value(&population[last]) - value(&population[first]);
            standings[first].crowding = f64::INFINITY;
            standings[last].crowding = f64::INFINITY;
            for three in front.windows(3).filter(|_| range > 0.0) {
                let gap = value(&population[three[2]]) - value(&population[three[0]]);
                standings[three[1]].crowding += gap / range;
            }
        }
        left = rest;
        rank += 1;
    }
    standings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_crowding_by_hand() {
        let item = |latency_ms: f64, fitness: f64| Evaluated {
            arch: atb_space::Architecture::bert_base(),
            latency_ms,
            fitness,
        };
        let population =
            [item(1.0, 5.0), item(2.0, 4.0), item(4.0, 1.0), item(2.0, 5.0), item(5.0, 5.0)];
        let standings = rank(&population);
        let ranks: Vec<usize> = standings.iter().map(|standing| standing.rank).collect();
        assert_eq!(ranks, [0, 0, 0, 1, 2]);
        // Between (1, 5) and (4, 1): all of both ranges.
        assert_eq!(standings[1].crowding, 2.0);
        assert_eq!(standings[0].crowding, f64::INFINITY);
        assert!(standings[0].compare(&standings[1]).is_lt());
        assert!(standings[1].compare(&standings[3]).is_lt());
    }
}
