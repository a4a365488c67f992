//! One pass over a space: predicts the latency of every architecture whose layers are
//! alike, on all threads, and keeps only what a search needs of them.

use atb_predictor::{Model, Predictor, Rows};
use atb_space::{Architecture, Layer, Space};
use rayon::prelude::*;

use crate::Band;

/// Architectures that differ in their intermediate size alone, neighbours on its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) layers: u32,
    pub(crate) hidden: u32,
    pub(crate) heads: u32,
    pub(crate) qkv: u32,
    /// Index of the first intermediate size on the space's grid.
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Run {
    pub(crate) fn intermediate(self, space: &Space, offset: u32) -> usize {
        space.intermediate.value((self.first + offset) as usize)
    }

    pub(crate) fn arch(self, space: &Space, offset: u32) -> Option<Architecture> {
        let layer = Layer {
            intermediate: self.intermediate(space, offset),
            heads: self.heads as usize,
            qkv: self.qkv as usize,
        };
        Architecture::uniform(self.layers as usize, self.hidden as usize, layer).ok()
    }
}

/// Bins per octave of latency; a power of two.
const BINS_PER_OCTAVE: u64 = 8;
/// Bits of a float's mantissa that lie below those that tell a bin.
const SHIFT: u32 = 52 - BINS_PER_OCTAVE.trailing_zeros();
/// Lower end of the first bin, in milliseconds: everything below falls into it.
const LOWEST_MS: f64 = 1.0 / 1024.0;
const OCTAVES: u64 = 32;

/// How many architectures have which latency, in eight bins for every doubling of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: vec![0; (OCTAVES * BINS_PER_OCTAVE) as usize] }
    }
}

impl LatencyHistogram {
    /// Counts one latency. The leading bits of a positive float are its octave and its
    /// place in it, so that no logarithm is needed.
    fn add(&mut self, latency_ms: f64) {
        let bin = (latency_ms.max(LOWEST_MS).to_bits() >> SHIFT) - (LOWEST_MS.to_bits() >> SHIFT);
        let last = self.counts.len() - 1;
        self.counts[(bin as usize).min(last)] += 1;
    }

    fn join(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Number of latencies.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The bins that hold something: lower and upper end in milliseconds, and how many
    /// latencies lie from the lower to below the upper.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        let edge = |bin: usize| f64::from_bits(LOWEST_MS.to_bits() + ((bin as u64) << SHIFT));
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(move |(bin, count)| (edge(bin), edge(bin + 1), *count))
    }
}

/// What a scan finds.
#[derive(Default)]
pub(crate) struct Found {
    /// The architectures that meet the budget.
    pub(crate) runs: Vec<Run>,
    /// How many lie in its band, whether or not they keep its limits.
    pub(crate) in_band: u64,
    /// While nothing lies in the band: the distance and latency of the nearest, and which
    /// it is.
    pub(crate) nearest: Option<(f64, f64, Run)>,
    pub(crate) histogram: LatencyHistogram,
}

impl Found {
    fn join(mut self, other: Self) -> Self {
        self.runs.extend(other.runs);
        self.in_band += other.in_band;
        self.histogram.join(&other.histogram);
        self.nearest = match (self.nearest, other.nearest) {
            (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
            (a, b) => a.or(b),
        };
        self
    }

    /// Takes in the latencies of one row, that is of all intermediate sizes.
    fn row(&mut self, row: Run, latencies: &[f64], (low_ms, high_ms): (f64, f64)) {
        for latency in latencies {
            self.histogram.add(*latency);
        }
        let inside = |latency: &f64| (low_ms..=high_ms).contains(latency);
        let mut from = 0;
        while let Some(skipped) = latencies[from..].iter().position(inside) {
            let first = from + skipped;
            let count = latencies[first..].iter().take_while(|latency| inside(latency)).count();
            self.runs.push(Run { first: first as u32, count: count as u32, ..row });
            self.in_band += count as u64;
            from = first + count;
        }
        if self.in_band == 0 {
            for (index, latency) in latencies.iter().enumerate() {
                let distance = (low_ms - latency).max(latency - high_ms);
                if self.nearest.is_none_or(|(nearest, ..)| distance < nearest) {
                    let run = Run { first: index as u32, count: 1, ..row };
                    self.nearest = Some((distance, *latency, run));
                }
            }
        }
    }

    /// Keeps only the architectures that `admits` lets pass.
    fn retain(&mut self, space: &Space, admits: impl Fn(&Architecture) -> bool) {
        let mut kept: Vec<Run> = Vec::new();
        for run in &self.runs {
            let mut open = false;
            for offset in 0..run.count {
                if !run.arch(space, offset).is_some_and(|arch| admits(&arch)) {
                    open = false;
                    continue;
                }
                match kept.last_mut() {
                    Some(last) if open => last.count += 1,
                    _ => kept.push(Run { first: run.first + offset, count: 1, ..*run }),
                }
                open = true;
            }
        }
        self.runs = kept;
    }
}

/// Predicts every architecture of `space` whose layers are alike.
pub(crate) fn scan(space: &Space, predictor: &Predictor, band: &Band) -> Found {
    let layers: Vec<usize> = space.layers.values().collect();
    let attention: Vec<(usize, usize)> = space
        .heads
        .values()
        .flat_map(|heads| space.qkv.sizes(heads).map(move |qkv| (heads, qkv)))
        .collect();
    let intermediates: Vec<usize> = space.intermediate.values().collect();
    let hidden: Vec<usize> = space.hidden.values().collect();
    let ends_ms = (band.low_ms(), band.high_ms());
    hidden
        .par_iter()
        .map(|&hidden| {
            let rows = Rows {
                workload: predictor.workload(),
                hidden,
                layers: &layers,
                attention: &attention,
                intermediates: &intermediates,
            };
            let mut found = Found::default();
            predictor.model.scan(&rows, &mut |layers_index, attention_index, latencies| {
                let (heads, qkv) = attention[attention_index];
                let row = Run {
                    layers: layers[layers_index] as u32,
                    hidden: hidden as u32,
                    heads: heads as u32,
                    qkv: qkv as u32,
                    first: 0,
                    count: 0,
                };
                found.row(row, latencies, ends_ms);
            });
            if band.goes_beyond_band() {
                found.retain(space, |arch| band.admits_in_band(predictor, arch));
            }
            found
        })
        .reduce(Found::default, Found::join)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bin_around_it() {
        let mut histogram = LatencyHistogram::default();
        let latencies = [0.37, 1.0, 1.124, 1.125, 1.9, 2.0, 75.0, 1e9, 1e-9];
        for latency in latencies {
            histogram.add(latency);
        }
        let bins: Vec<(f64, f64, u64)> = histogram.bins().collect();
        assert!(bins.contains(&(1.0, 1.125, 2)) && bins.contains(&(1.875, 2.0, 1)), "{bins:?}");
        assert!(bins.contains(&(0.34375, 0.375, 1)) && bins.contains(&(72.0, 80.0, 1)));
        assert_eq!(histogram.total(), latencies.len() as u64);
    }
}
