//! A look-up table of blocks, filled from end-to-end differences.

use atb_predictor::{FitError, Model, Observation, nnls, one_workload};
use atb_space::{Architecture, Layer, Workload};

/// Name in messages.
const KIND: &str = "table";

/// Entries of the tables along each size.
const KNOTS: usize = 4;
/// Weight of the pull towards entries that lie on a plane with their neighbours, relative
/// to one measurement: what fills the entries that no measurement reaches.
const SMOOTHNESS: f64 = 0.03;

/// Latencies of embeddings, attention and feed-forward blocks on a coarse grid of sizes,
/// with linear interpolation between the entries.
///
/// The entries are solved for from whole-model latencies: what two measured models differ
/// in is the difference of their latencies. Unlike the structured model the table knows
/// nothing of how a block's cost depends on its sizes. The heads of a layer are not
/// looked at. Knows one batch and sequence length.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    hidden: [f64; KNOTS],
    intermediate: [f64; KNOTS],
    qkv: [f64; KNOTS],
    /// Costs: embeddings by hidden size, then attention by hidden and q|k|v size,
    /// then feed-forward by hidden and intermediate size.
    entries: Vec<f64>,
}

const ATTENTION: usize = KNOTS;
const FEED_FORWARD: usize = ATTENTION + KNOTS * KNOTS;
const ENTRIES: usize = FEED_FORWARD + KNOTS * KNOTS;

fn knots(sizes: impl Iterator<Item = usize> + Clone) -> [f64; KNOTS] {
    let low = sizes.clone().min().unwrap_or(0) as f64;
    let high = (sizes.max().unwrap_or(0) as f64).max(low + 1.0);
    std::array::from_fn(|knot| low + (high - low) * knot as f64 / (KNOTS - 1) as f64)
}

/// The knots around `size` and their weights; beyond the ends the outermost two are
/// extrapolated.
fn weights(knots: &[f64; KNOTS], size: usize) -> [(usize, f64); 2] {
    let size = size as f64;
    let above = knots.partition_point(|knot| *knot < size).clamp(1, KNOTS - 1);
    let share = (size - knots[above - 1]) / (knots[above] - knots[above - 1]);
    [(above - 1, 1.0 - share), (above, share)]
}

impl Table {
    /// Fits the entries.
    ///
    /// # Errors
    /// [`FitError::MixedWorkloads`] if the observations differ in batch or sequence length.
    pub fn fit(observations: &[Observation]) -> Result<Self, FitError> {
        one_workload(KIND, observations)?;
        let layers = || observations.iter().flat_map(|item| item.arch.layers());
        let mut table = Self {
            hidden: knots(observations.iter().map(|item| item.arch.hidden())),
            intermediate: knots(layers().map(|layer| layer.intermediate)),
            qkv: knots(layers().map(|layer| layer.qkv)),
            entries: Vec::new(),
        };
        let mut rows: Vec<Vec<f64>> = observations
            .iter()
            .map(|item| {
                let row = table.row(&item.arch);
                row.iter().map(|weight| weight / item.value).collect()
            })
            .collect();
        let mut target = vec![1.0; rows.len()];
        let typical =
            observations.iter().map(|item| item.value).sum::<f64>() / target.len().max(1) as f64;
        for bend in bends() {
            let mut row = vec![0.0; ENTRIES];
            for (entry, factor) in bend {
                row[entry] += SMOOTHNESS * factor * KNOTS as f64 / typical;
            }
            rows.push(row);
            target.push(0.0);
        }
        let columns: Vec<Vec<f64>> =
            (0..ENTRIES).map(|entry| rows.iter().map(|row| row[entry]).collect()).collect();
        table.entries = nnls(&columns, &target);
        Ok(table)
    }

    /// How much of every entry an architecture's latency holds.
    fn row(&self, arch: &Architecture) -> [f64; ENTRIES] {
        let mut row = [0.0; ENTRIES];
        let hidden = weights(&self.hidden, arch.hidden());
        for (knot, share) in hidden {
            row[knot] += share;
        }
        for layer in arch.layers() {
            let Layer { intermediate, qkv, .. } = *layer;
            for (first, grid, size) in
                [(ATTENTION, &self.qkv, qkv), (FEED_FORWARD, &self.intermediate, intermediate)]
            {
                for (outer, outer_share) in hidden {
                    for (inner, inner_share) in weights(grid, size) {
                        row[first + outer * KNOTS + inner] += outer_share * inner_share;
                    }
                }
            }
        }
        row
    }
}

/// Second differences along every line of the tables, and mixed ones across: zero where
/// the entries lie on a plane.
fn bends() -> Vec<Vec<(usize, f64)>> {
    let mut bends = Vec::new();
    let mut line = |entries: [usize; KNOTS]| {
        for at in 1..KNOTS - 1 {
            bends.push(vec![(entries[at - 1], 1.0), (entries[at], -2.0), (entries[at + 1], 1.0)]);
        }
    };
    line(std::array::from_fn(|knot| knot));
    for first in [ATTENTION, FEED_FORWARD] {
        for fixed in 0..KNOTS {
            line(std::array::from_fn(|knot| first + fixed * KNOTS + knot));
            line(std::array::from_fn(|knot| first + knot * KNOTS + fixed));
        }
    }
    bends
}

impl Model for Table {
    fn value(&self, arch: &Architecture, _workload: Workload) -> f64 {
        self.row(arch).iter().zip(&self.entries).map(|(share, entry)| share * entry).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_between_its_entries() {
        let grid = knots([100, 400, 250].into_iter());
        assert_eq!(grid, [100.0, 200.0, 300.0, 400.0]);
        assert_eq!(weights(&grid, 100), [(0, 1.0), (1, 0.0)]);
        assert_eq!(weights(&grid, 225), [(1, 0.75), (2, 0.25)]);
        assert_eq!(weights(&grid, 450), [(2, -0.5), (3, 1.5)]);
    }

    #[test]
    fn recovers_latencies_that_are_linear_in_every_size() {
        let latency = |arch: &Architecture| {
            let layer = arch.layers()[0];
            let (dm, df, dq) = (arch.hidden() as f64, layer.intermediate as f64, layer.qkv as f64);
            1.0 + dm / 100.0 + arch.num_layers() as f64 * (0.5 + dm * dq / 1e5 + dm * df / 2e5)
        };
        let observations: Vec<Observation> =
            atb_space::Sampler::new(&atb_space::Space::paper_kd(), 3)
                .take(60)
                .map(|arch| Observation {
                    workload: Workload::default(),
                    value: latency(&arch),
                    first: latency(&arch),
                    spread: 0.0,
                    records: 1,
                    arch,
                })
                .collect();
        let table = Table::fit(&observations).expect("fits");
        for arch in atb_space::Sampler::new(&atb_space::Space::paper_kd(), 4).take(100) {
            let predicted = table.value(&arch, Workload::default());
            let error = predicted / latency(&arch) - 1.0;
            assert!(error.abs() < 0.05, "{arch}: {error}");
        }
    }
}
