//! Evaluates architectures once each, keeps what came out, and tells an observer.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use atb_space::Architecture;
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Candidates, Fitness, SearchError, Store};

/// An architecture with its predicted latency and its fitness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The architecture.
    pub arch: Architecture,
    /// Predicted latency, in milliseconds.
    pub latency_ms: f64,
    /// Fitness; lower is better.
    pub fitness: f64,
}

/// What a search tells its observer after every evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// How many architectures are evaluated.
    pub done: usize,
    /// How many will be, at most.
    pub planned: usize,
    /// The generation, from 0; always 0 in strategies without generations.
    pub generation: usize,
    /// The architecture evaluated last.
    pub last: &'a Evaluated,
    /// Whether its value came from the store.
    pub stored: bool,
    /// The best so far.
    pub best: &'a Evaluated,
}

/// Hears of every evaluation.
pub type Observer<'a> = dyn FnMut(Progress<'_>) + Send + 'a;

/// The evaluated architectures of one search, in the order they were proposed.
pub(crate) struct Evaluator<'a> {
    pub(crate) candidates: &'a Candidates<'a>,
    fitness: &'a dyn Fitness,
    store: &'a mut Store,
    observer: &'a mut Observer<'a>,
    pool: Option<rayon::ThreadPool>,
    seen: HashSet<Architecture>,
    pub(crate) history: Vec<Evaluated>,
    pub(crate) planned: usize,
    /// How many values were computed, not taken from the store.
    pub(crate) computed: usize,
}

/// What several threads write to.
struct Shared<'a, 'b> {
    store: &'a mut Store,
    observer: &'a mut Observer<'b>,
    done: usize,
    best: Option<Evaluated>,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        candidates: &'a Candidates<'a>,
        fitness: &'a dyn Fitness,
        store: &'a mut Store,
        observer: &'a mut Observer<'a>,
        threads: usize,
    ) -> Result<Self, SearchError> {
        let pool = match threads {
            0 | 1 => None,
            threads => Some(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?),
        };
        Ok(Self {
            candidates,
            fitness,
            store,
            observer,
            pool,
            seen: HashSet::new(),
            history: Vec::new(),
            planned: 0,
            computed: 0,
        })
    }

    /// Whether the architecture was evaluated or is about to be.
    pub(crate) fn knows(&self, arch: &Architecture) -> bool {
        self.seen.contains(arch)
    }

    /// Marks an architecture as proposed, so that it is not proposed again.
    pub(crate) fn claim(&mut self, arch: &Architecture) {
        self.seen.insert(arch.clone());
    }

    /// Claims up to `count` candidates that were not claimed before.
    pub(crate) fn draw(&mut self, count: usize, rng: &mut impl Rng) -> Vec<Architecture> {
        let mut drawn = Vec::new();
        while drawn.len() < count {
            let Some(arch) = self.candidates.sample(rng, |arch| self.knows(arch)) else { break };
            self.claim(&arch);
            drawn.push(arch);
        }
        drawn
    }

    /// Claims a first generation of up to `count` candidates: if `seeded`, half of it are the
    /// largest of the band; the rest is drawn.
    pub(crate) fn first_generation(
        &mut self,
        count: usize,
        seeded: bool,
        rng: &mut impl Rng,
    ) -> Vec<Architecture> {
        let mut first = if seeded { self.candidates.largest_by_depth() } else { Vec::new() };
        first.truncate(count / 2);
        first.iter().for_each(|arch| self.claim(arch));
        first.extend(self.draw(count - first.len(), rng));
        first
    }

    /// Evaluates claimed architectures; values in the store are taken from there.
    pub(crate) fn evaluate(
        &mut self,
        generation: usize,
        archs: &[Architecture],
    ) -> Result<(), SearchError> {
        let stored: Vec<Option<f64>> = archs.iter().map(|arch| self.store.get(arch)).collect();
        self.computed += stored.iter().filter(|value| value.is_none()).count();
        let (candidates, fitness, planned) = (self.candidates, self.fitness, self.planned);
        let shared = Mutex::new(Shared {
            store: &mut *self.store,
            observer: &mut *self.observer,
            done: self.history.len(),
            best: best(&self.history).cloned(),
        });
        let one = |(arch, stored): (&Architecture, &Option<f64>)| {
            let value = match stored {
                Some(value) => *value,
                None => fitness
                    .evaluate(arch)
                    .map_err(|cause| SearchError::Evaluation { arch: arch.id(), cause })?,
            };
            if !value.is_finite() {
                return Err(SearchError::NotANumber { arch: arch.id(), value });
            }
            let last = Evaluated {
                arch: arch.clone(),
                latency_ms: candidates.latency_ms(arch),
                fitness: value,
            };
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let shared = &mut *shared;
            if stored.is_none() {
                shared.store.insert(arch, value)?;
            }
            shared.done += 1;
            let best = match shared.best.take() {
                Some(best) if best.fitness <= last.fitness => best,
                _ => last.clone(),
            };
            (shared.observer)(Progress {
                done: shared.done,
                planned,
                generation,
                last: &last,
                stored: stored.is_some(),
                best: shared.best.insert(best),
            });
            Ok(last)
        };
        let evaluated: Result<Vec<Evaluated>, SearchError> = match &self.pool {
            None => archs.iter().zip(&stored).map(one).collect(),
            Some(pool) => pool.install(|| archs.par_iter().zip(&stored).map(one).collect()),
        };
        self.history.extend(evaluated?);
        Ok(())
    }
}

pub(crate) fn best(evaluated: &[Evaluated]) -> Option<&Evaluated> {
    evaluated.iter().min_by(|a, b| a.fitness.total_cmp(&b.fitness))
}
