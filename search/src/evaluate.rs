//! Evaluates architectures once each, keeps what came out, and tells an observer.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use atb_ranks::Ranks;
use atb_space::Architecture;
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::queue::{Work, values_of};
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
    ranks: &'a Ranks,
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
        ranks: &'a Ranks,
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
            ranks,
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
        let stored = self.stored(archs);
        self.computed += stored.iter().filter(|value| value.is_none()).count();
        let (candidates, fitness, planned) = (self.candidates, self.fitness, self.planned);
        let shared = Mutex::new(Shared {
            store: &mut *self.store,
            observer: &mut *self.observer,
            done: self.history.len(),
            best: best(&self.history).cloned(),
        });
        let compute = |arch: &Architecture| {
            fitness
                .evaluate(arch)
                .map_err(|cause| SearchError::Evaluation { arch: arch.id(), cause })
        };
        let note = |arch: &Architecture, value: f64, is_stored: bool| {
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
            if !is_stored {
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
                stored: is_stored,
                best: shared.best.insert(best),
            });
            Ok(last)
        };
        let evaluated: Result<Vec<Evaluated>, SearchError> = match &self.pool {
            _ if !self.ranks.are_one() => {
                let work = Work { archs, pool: self.pool.as_ref(), compute: &compute };
                let values = work.shared_out(self.ranks, stored, |arch, value, is_stored| {
                    note(arch, value, is_stored).map(|_| ())
                })?;
                let of = |(arch, fitness): (&Architecture, f64)| Evaluated {
                    arch: arch.clone(),
                    latency_ms: candidates.latency_ms(arch),
                    fitness,
                };
                Ok(archs.iter().zip(values).map(of).collect())
            }
            pool => {
                let one = |(arch, stored): (&Architecture, &Option<f64>)| match stored {
                    Some(value) => note(arch, *value, true),
                    None => note(arch, compute(arch)?, false),
                };
                match pool {
                    None => archs.iter().zip(&stored).map(one).collect(),
                    Some(pool) => pool.install(|| archs.par_iter().zip(&stored).map(one).collect()),
                }
            }
        };
        self.history.extend(evaluated?);
        Ok(())
    }

    /// The values that are in the store of rank 0.
    fn stored(&self, archs: &[Architecture]) -> Vec<Option<f64>> {
        let stored: Vec<Option<f64>> = archs.iter().map(|arch| self.store.get(arch)).collect();
        if self.ranks.are_one() {
            return stored;
        }
        let values = stored.into_iter().map(|value| value.unwrap_or(f64::NAN));
        let mut bytes: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
        self.ranks.broadcast(&mut bytes);
        values_of(&bytes).map(|value| (!value.is_nan()).then_some(value)).collect()
    }
}

pub(crate) fn best(evaluated: &[Evaluated]) -> Option<&Evaluated> {
    evaluated.iter().min_by(|a, b| a.fitness.total_cmp(&b.fitness))
}
