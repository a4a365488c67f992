//! The candidates: every architecture of a space whose predicted latency lies in the band.

use std::ops::RangeInclusive;

use atb_predictor::{LatencyModel, Predictor, Rows};
use atb_space::{Architecture, Layer, Space};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use crate::{Budget, SearchError};

/// Candidates that differ in their intermediate size alone, neighbours on its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    layers: u32,
    hidden: u32,
    heads: u32,
    qkv: u32,
    /// Index of the first intermediate size on the space's grid.
    first: u32,
    count: u32,
}

/// All candidates of a search, found by predicting every architecture of the space whose
/// layers are alike. They are kept as runs of neighbours, so that tens of millions take a
/// megabyte or two.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    space: Space,
    predictor: &'a Predictor,
    budget: Budget,
    runs: Vec<Run>,
    /// Number of candidates up to and including each run.
    ends: Vec<u64>,
    scanned: u64,
}

/// What one worker finds.
#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    /// The latency nearest to the band, and where it is.
    nearest: Option<(f64, f64, Run)>,
}

impl Found {
    fn join(mut self, other: Self) -> Self {
        self.runs.extend(other.runs);
        self.nearest = match (self.nearest, other.nearest) {
            (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
            (a, b) => a.or(b),
        };
        self
    }
}

impl<'a> Candidates<'a> {
    /// Predicts every architecture of `space` whose layers are alike, on all threads, and
    /// keeps those within `budget`.
    ///
    /// # Errors
    /// [`SearchError::NothingInBand`] with the nearest architecture if there is none;
    /// [`SearchError::Space`] or [`SearchError::Budget`] if they make no sense.
    pub fn scan(
        space: &Space,
        predictor: &'a Predictor,
        budget: &Budget,
    ) -> Result<Self, SearchError> {
        space.validate()?;
        budget.check()?;
        let layers: Vec<usize> = space.layers.values().collect();
        let attention: Vec<(usize, usize)> = space
            .heads
            .values()
            .flat_map(|heads| space.qkv.sizes(heads).map(move |qkv| (heads, qkv)))
            .collect();
        let intermediates: Vec<usize> = space.intermediate.values().collect();
        let hidden: Vec<usize> = space.hidden.values().collect();
        let found = hidden
            .par_iter()
            .map(|&hidden| {
                let rows = Rows {
                    workload: predictor.workload(),
                    hidden,
                    layers: &layers,
                    attention: &attention,
                    intermediates: &intermediates,
                };
                scan_hidden(predictor.as_model(), &rows, budget)
            })
            .reduce(Found::default, Found::join);
        let candidates = Self {
            space: space.clone(),
            predictor,
            budget: *budget,
            ends: ends(&found.runs),
            runs: found.runs,
            scanned: space.count_uniform(),
        };
        if let (true, Some((_, nearest_ms, run))) = (candidates.is_empty(), found.nearest) {
            let too_slow = nearest_ms > budget.high_ms();
            return Err(SearchError::NothingInBand {
                space: space.name.clone(),
                low_ms: budget.low_ms(),
                high_ms: budget.high_ms(),
                nearest: candidates.arch(run, 0).map_or_else(String::new, |arch| arch.id()),
                nearest_ms,
                hint: if too_slow {
                    "raise the budget, or let the space hold smaller architectures"
                } else {
                    "lower the budget, widen the band, or let the space hold other architectures"
                },
            });
        }
        Ok(candidates)
    }

    /// Number of candidates.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of architectures that were predicted to find them.
    #[must_use]
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    /// The space they come from.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The budget they meet.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The `index`-th candidate, counted from 0, in the order of the space's enumeration
    /// but by hidden size first.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<Architecture> {
        let place = self.ends.partition_point(|end| *end <= index);
        let run = *self.runs.get(place)?;
        let before = if place == 0 { 0 } else { self.ends[place - 1] };
        self.arch(run, u32::try_from(index - before).ok()?)
    }

    /// All candidates.
    pub fn iter(&self) -> impl Iterator<Item = Architecture> + '_ {
        self.runs
            .iter()
            .flat_map(move |run| (0..run.count).filter_map(move |offset| self.arch(*run, offset)))
    }

    /// A candidate that `seen` does not know, uniform among all as long as few are known;
    /// `None` once all are.
    pub fn sample(
        &self,
        rng: &mut impl Rng,
        seen: impl Fn(&Architecture) -> bool,
    ) -> Option<Architecture> {
        let len = self.len();
        if len == 0 {
            return None;
        }
        let start = rng.random_range(0..len);
        (0..len).filter_map(|step| self.get((start + step) % len)).find(|arch| !seen(arch))
    }

    /// Whether an architecture could be a candidate: in the space, per-layer values
    /// included where it allows them, and its predicted latency in the band.
    #[must_use]
    pub fn admits(&self, arch: &Architecture) -> bool {
        self.space.check(arch).is_ok() && self.budget.contains(self.latency_ms(arch))
    }

    /// Predicted latency, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self, arch: &Architecture) -> f64 {
        self.predictor.latency_ms(arch)
    }

    /// The candidates that follow the paper's rule for good architectures:
    /// `1.6 dm <= df <= 1.9 dm` and `0.7 dm <= dq <= dm`.
    ///
    /// # Errors
    /// [`SearchError::NothingFast`] if none does.
    pub fn fast(&self) -> Result<Self, SearchError> {
        let runs: Vec<Run> = self.runs.iter().filter_map(|run| self.fast_part(*run)).collect();
        if runs.is_empty() {
            return Err(SearchError::NothingFast { candidates: self.len() });
        }
        Ok(Self { ends: ends(&runs), runs, ..self.clone() })
    }

    fn fast_part(&self, run: Run) -> Option<Run> {
        let hidden = f64::from(run.hidden);
        let times = |range: RangeInclusive<f64>| range.start() * hidden..=range.end() * hidden;
        if !times(0.7..=1.0).contains(&f64::from(run.qkv)) {
            return None;
        }
        let follows = |offset: &u32| {
            let intermediate = self.intermediate(run, *offset) as f64;
            times(1.6..=1.9).contains(&intermediate)
        };
        let first = (0..run.count).find(follows)?;
        let count = (first..run.count).take_while(follows).count() as u32;
        Some(Run { first: run.first + first, count, ..run })
    }

    fn intermediate(&self, run: Run, offset: u32) -> usize {
        self.space.intermediate.value((run.first + offset) as usize)
    }

    fn arch(&self, run: Run, offset: u32) -> Option<Architecture> {
        let layer = Layer {
            intermediate: self.intermediate(run, offset),
            heads: run.heads as usize,
            qkv: run.qkv as usize,
        };
        Architecture::uniform(run.layers as usize, run.hidden as usize, layer).ok()
    }
}

fn ends(runs: &[Run]) -> Vec<u64> {
    let mut total = 0;
    runs.iter()
        .map(|run| {
            total += u64::from(run.count);
            total
        })
        .collect()
}

fn scan_hidden(model: &dyn LatencyModel, rows: &Rows<'_>, budget: &Budget) -> Found {
    let (low_ms, high_ms) = (budget.low_ms(), budget.high_ms());
    let mut found = Found::default();
    model.scan(rows, &mut |layers, attention, latencies| {
        let (heads, qkv) = rows.attention[attention];
        let run = |first: usize, count: usize| Run {
            layers: rows.layers[layers] as u32,
            hidden: rows.hidden as u32,
            heads: heads as u32,
            qkv: qkv as u32,
            first: first as u32,
            count: count as u32,
        };
        let inside = |latency: &f64| (low_ms..=high_ms).contains(latency);
        let mut from = 0;
        while let Some(skipped) = latencies[from..].iter().position(inside) {
            let first = from + skipped;
            let count = latencies[first..].iter().take_while(|latency| inside(latency)).count();
            found.runs.push(run(first, count));
            from = first + count;
        }
        if found.runs.is_empty() {
            for (index, latency) in latencies.iter().enumerate() {
                let distance = (low_ms - latency).max(latency - high_ms);
                if found.nearest.is_none_or(|(nearest, ..)| distance < nearest) {
                    found.nearest = Some((distance, *latency, run(index, 1)));
                }
            }
        }
    });
    found
}
