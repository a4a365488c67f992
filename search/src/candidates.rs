//! The candidates: every architecture of a space whose predicted latency lies in the band.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use atb_predictor::Predictor;
use atb_space::{Architecture, Cost, Space};
use rand::{Rng, RngExt};

use crate::scan::{Run, scan};
use crate::{Band, Budget, LatencyHistogram, SearchError};

/// All candidates of a search, found by predicting every architecture of the space whose
/// layers are alike. They are kept as runs of neighbours, so that tens of millions take a
/// megabyte or two.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    space: Space,
    predictor: &'a Predictor,
    band: Band,
    runs: Vec<Run>,
    /// Number of candidates up to and including each run.
    ends: Vec<u64>,
    histogram: LatencyHistogram,
}

impl<'a> Candidates<'a> {
    /// Predicts every architecture of `space` whose layers are alike, on all threads, and
    /// keeps those within `budget`.
    ///
    /// # Errors
    /// [`SearchError::NothingInBand`] with the nearest architecture if there is none;
    /// [`SearchError::Space`] if the space makes no sense, and what [`Budget::on`] says.
    pub fn scan(
        space: &Space,
        predictor: &'a Predictor,
        budget: &Budget,
    ) -> Result<Self, SearchError> {
        space.validate()?;
        let band = budget.on(predictor)?;
        let found = scan(space, predictor, &band);
        let candidates = Self {
            space: space.clone(),
            predictor,
            band,
            ends: ends(&found.runs),
            runs: found.runs,
            histogram: found.histogram,
        };
        if !candidates.is_empty() {
            return Ok(candidates);
        }
        let (low_ms, high_ms) = (candidates.band.low_ms(), candidates.band.high_ms());
        let (nearest_ms, run) = match found.nearest {
            Some((_, nearest_ms, run)) if found.in_band == 0 => (nearest_ms, run),
            _ => {
                let (space, in_band) = (space.name.clone(), found.in_band);
                return Err(SearchError::NothingWithinLimits { in_band, space, low_ms, high_ms });
            }
        };
        Err(SearchError::NothingInBand {
            space: space.name.clone(),
            low_ms,
            high_ms,
            nearest: run.arch(space, 0).map_or_else(String::new, |arch| arch.id()),
            nearest_ms,
            hint: if nearest_ms > high_ms {
                "raise the budget, or let the space hold smaller architectures"
            } else {
                "lower the budget, widen the band, or let the space hold other architectures"
            },
        })
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
        self.histogram.total()
    }

    /// How the predicted latencies of the whole space are distributed.
    #[must_use]
    pub fn histogram(&self) -> &LatencyHistogram {
        &self.histogram
    }

    /// The `count` candidates of the highest `score`, highest first; `score` gets every
    /// candidate once.
    pub fn best_by(
        &self,
        count: usize,
        score: impl Fn(&Architecture) -> f64,
    ) -> Vec<(f64, Architecture)> {
        let mut kept: Vec<(f64, Architecture)> = Vec::new();
        for arch in self.iter() {
            let score = score(&arch);
            if kept.len() < count || kept.last().is_some_and(|(lowest, _)| score > *lowest) {
                let place = kept.partition_point(|(other, _)| *other >= score);
                kept.insert(place, (score, arch));
                kept.truncate(count);
            }
        }
        kept
    }

    /// What is large within the band, for a search to begin with: of each number of layers the
    /// candidate with the most encoder parameters and the one with the largest hidden size, those
    /// with more parameters first.
    #[must_use]
    pub fn largest_by_depth(&self) -> Vec<Architecture> {
        let mut largest: BTreeMap<(usize, bool), ((u64, u64), Architecture)> = BTreeMap::new();
        for arch in self.iter() {
            let (parameters, hidden) = (Cost::encoder_parameters(&arch), arch.hidden() as u64);
            for (by_hidden, size) in [(false, (parameters, hidden)), (true, (hidden, parameters))] {
                let best = largest
                    .entry((arch.num_layers(), by_hidden))
                    .or_insert_with(|| (size, arch.clone()));
                if size > best.0 {
                    *best = (size, arch.clone());
                }
            }
        }
        let mut found: Vec<Architecture> = largest.into_values().map(|(_, arch)| arch).collect();
        found.sort_by_key(|arch| (Reverse(Cost::encoder_parameters(arch)), arch.clone()));
        found.dedup();
        found
    }

    /// The space they come from.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The budget they meet, on the predictor's device.
    #[must_use]
    pub fn band(&self) -> &Band {
        &self.band
    }

    /// The `index`-th candidate, counted from 0, in the order of the space's enumeration
    /// but by hidden size first.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<Architecture> {
        let place = self.ends.partition_point(|end| *end <= index);
        let run = *self.runs.get(place)?;
        let before = if place == 0 { 0 } else { self.ends[place - 1] };
        run.arch(&self.space, u32::try_from(index - before).ok()?)
    }

    /// All candidates.
    pub fn iter(&self) -> impl Iterator<Item = Architecture> + '_ {
        self.runs.iter().flat_map(move |run| {
            (0..run.count).filter_map(move |offset| run.arch(&self.space, offset))
        })
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
    /// included where it allows them, and within the budget.
    #[must_use]
    pub fn admits(&self, arch: &Architecture) -> bool {
        self.space.check(arch).is_ok() && self.band.admits(self.predictor, arch)
    }

    /// Predicted latency, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self, arch: &Architecture) -> f64 {
        self.predictor.value(arch)
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
            let intermediate = run.intermediate(&self.space, *offset) as f64;
            times(1.6..=1.9).contains(&intermediate)
        };
        let first = (0..run.count).find(follows)?;
        let count = (first..run.count).take_while(follows).count() as u32;
        Some(Run { first: run.first + first, count, ..run })
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
