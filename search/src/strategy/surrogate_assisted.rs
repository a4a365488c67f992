//! Surrogate-assisted evolution: children are tried on a model of the fitness first, and only
//! the most promising are evaluated.

use atb_space::{Architecture, Layer};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::evolutionary::{fittest, offspring};
use super::{Defaults, Settings, Strategy};
use crate::SearchError;
use crate::evaluate::Evaluator;
use crate::surrogate::Surrogate;

/// Architectures tried on the model for each one that is evaluated.
const TRIALS_PER_EVALUATION: usize = 40;
/// Standard deviations that are taken off the expected fitness, as in a lower confidence
/// bound: how much an architecture that the model is unsure of is preferred.
const EXPLORATION_WEIGHT: f64 = 1.0;
/// Batches per generation of the other strategies: the model learns between them.
const BATCHES_PER_GENERATION: usize = 5;

impl Strategy {
    /// Evolution whose children are first tried on a model of the fitness learnt from what
    /// was evaluated; far fewer evaluations lead as far.
    pub const SURROGATE_ASSISTED: Self = Self {
        name: "surrogate-assisted",
        about: "Evolution on a model of the loss learnt on the way: as good with half the evaluations",
        settings: &["population", "generations", "seeded", "fresh", "crossover", "mutation"],
        is_multi_objective: false,
        former_names: &["guided"],
        defaults: Defaults::PAPER,
        narrow: None,
        search,
    };
}

/// Evaluates a first batch, then batches of what the model of the fitness finds most
/// promising among fresh candidates and children of the best.
fn search(
    evaluator: &mut Evaluator<'_>,
    settings: &Settings,
    rng: &mut ChaCha8Rng,
) -> Result<(), SearchError> {
    let batch = settings.population.div_ceil(BATCHES_PER_GENERATION);
    let count = settings.population.min(settings.evaluations());
    let first = evaluator.first_generation(count, settings.seeded, rng);
    evaluator.evaluate(0, &first)?;
    let mut generation = 0;
    while evaluator.history.len() < settings.evaluations() {
        generation += 1;
        let count = batch.min(settings.evaluations() - evaluator.history.len());
        let points = evaluator.history.iter().map(|item| point(&item.arch)).collect();
        let values = evaluator.history.iter().map(|item| item.fitness).collect();
        let Some(mut surrogate) = Surrogate::fit(points, values) else {
            // All alike: nothing to learn from.
            let fresh = evaluator.draw(count, rng);
            if fresh.is_empty() {
                break;
            }
            evaluator.evaluate(generation, &fresh)?;
            continue;
        };
        let mut tried = try_out(evaluator, settings, count * TRIALS_PER_EVALUATION, rng);
        let mut chosen = Vec::new();
        while chosen.len() < count && !tried.is_empty() {
            let promise = |arch: &Architecture| {
                let (mean, deviation) = surrogate.predict(&point(arch));
                mean - EXPLORATION_WEIGHT * deviation
            };
            let promises: Vec<f64> = tried.iter().map(promise).collect();
            let best = (0..tried.len()).min_by(|a, b| promises[*a].total_cmp(&promises[*b]));
            let Some(best) = best else { break };
            let arch = tried.swap_remove(best);
            // As if it had the value that is expected of it, so that the batch is varied.
            surrogate = surrogate.with_expected(point(&arch));
            evaluator.claim(&arch);
            chosen.push(arch);
        }
        if chosen.is_empty() {
            break;
        }
        evaluator.evaluate(generation, &chosen)?;
    }
    Ok(())
}

/// Candidates that are not known yet: fresh ones and children of the best.
fn try_out(
    evaluator: &Evaluator<'_>,
    settings: &Settings,
    count: usize,
    rng: &mut impl Rng,
) -> Vec<Architecture> {
    let parents = fittest(&evaluator.history, settings.population);
    let mut tried = std::collections::BTreeSet::new();
    for _ in 0..count {
        let arch = if rng.random_bool(settings.fresh) {
            evaluator.candidates.sample(rng, |arch| evaluator.knows(arch))
        } else {
            offspring(evaluator, &parents, settings, rng)
        };
        tried.extend(arch);
    }
    tried.into_iter().collect()
}

/// An architecture as a point: the logarithms of its sizes, means over the layers.
fn point(arch: &Architecture) -> Vec<f64> {
    let mean = |size: fn(&Layer) -> usize| {
        let sum: f64 = arch.layers().iter().map(|layer| (size(layer) as f64).ln()).sum();
        sum / arch.num_layers() as f64
    };
    vec![
        (arch.num_layers() as f64).ln(),
        (arch.hidden() as f64).ln(),
        mean(|layer| layer.intermediate),
        mean(|layer| layer.heads),
        mean(|layer| layer.qkv),
    ]
}
