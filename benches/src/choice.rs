//! Architectures of about the same latency, to be ranked by something else.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use atb_predictor::Predictor;
use atb_space::{Architecture, Sampler, Space};

/// Architectures drawn to find those of the latency asked for.
const DRAWN: usize = 200_000;

/// `count` architectures of a space that are predicted within the share `tolerance` of
/// `target_ms`, as many of every depth that has any.
///
/// # Errors
/// If there are not even three.
pub fn at_latency(
    space: &Space,
    predictor: &Predictor,
    target_ms: f64,
    tolerance: f64,
    count: usize,
    seed: u64,
) -> Result<Vec<Architecture>> {
    let mut of_depth: BTreeMap<usize, Vec<Architecture>> = BTreeMap::new();
    for arch in Sampler::new(space, seed).take(DRAWN) {
        let error = predictor.value(&arch) / target_ms - 1.0;
        if error.abs() <= tolerance {
            of_depth.entry(arch.num_layers()).or_default().push(arch);
        }
    }
    let mut chosen = Vec::new();
    let mut queues: Vec<_> = of_depth.into_values().map(Vec::into_iter).collect();
    while chosen.len() < count && queues.iter().any(|queue| queue.len() > 0) {
        chosen.extend(queues.iter_mut().filter_map(Iterator::next));
    }
    chosen.truncate(count);
    ensure!(
        chosen.len() >= 3,
        "{} architectures of {target_ms:.2} ms found, too few to rank; hint: another latency",
        chosen.len()
    );
    Ok(chosen)
}
