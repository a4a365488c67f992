//! What all runs of one model showed, by the wall clock.

use crate::{Record, median, percentile};

/// What the runs of one model showed, over all of its records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The 50th, 90th and 99th percentile of its runs by the wall clock, in milliseconds.
    pub percentiles_ms: [f64; 3],
    /// Time to load it, in milliseconds, if it was noted.
    pub load_ms: Option<f64>,
    /// Its first run after it was loaded, in milliseconds, if it was noted.
    pub first_ms: Option<f64>,
    /// Memory that it took at its peak, in KiB, if known.
    pub memory_kib: Option<u64>,
}

impl Summary {
    /// Of the `records` of one model; `None` without a sample.
    #[must_use]
    pub fn of(records: &[&Record]) -> Option<Self> {
        let all: Vec<f64> = records.iter().flat_map(|record| &record.samples_us).copied().collect();
        let percentile = |percent| percentile(&all, percent).map(|us| us / 1e3);
        let typical = |of: &dyn Fn(&Record) -> Option<f64>| {
            median(&records.iter().filter_map(|record| of(record)).collect::<Vec<_>>())
        };
        Some(Self {
            percentiles_ms: [percentile(50.0)?, percentile(90.0)?, percentile(99.0)?],
            load_ms: typical(&Record::load_ms),
            first_ms: typical(&|record| record.warm_up_us.first().map(|us| us / 1e3)),
            memory_kib: records.iter().filter_map(|record| record.model_memory_kib()).max(),
        })
    }
}
