//! Gradient-boosted trees: a model that knows nothing of encoders, for comparison.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Result, anyhow};
use atb_predictor::{Model, Observation, one_workload};
use atb_space::{Architecture, Cost, Workload};
use forust_ml::constraints::Constraint;
use forust_ml::objective::ObjectiveType;
use forust_ml::{GradientBooster, Matrix};

/// Name in messages.
const KIND: &str = "trees";

const FEATURES: usize = 6;
const ITERATIONS: usize = 400;
const LEARNING_RATE: f32 = 0.05;
const MAX_DEPTH: usize = 4;

/// Gradient-boosted regression trees (crate `forust-ml`) on the logarithm of the latency.
///
/// Features: layers, hidden size, mean intermediate size, mean heads, mean q|k|v size and
/// floating-point operations, in each of which the latency may only grow. Knows one batch
/// and sequence length.
pub struct Trees {
    booster: GradientBooster,
}

impl fmt::Debug for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trees").field("trees", &self.booster.trees.len()).finish_non_exhaustive()
    }
}

fn features(arch: &Architecture) -> [f64; FEATURES] {
    let layers = arch.layers();
    let mean = |size: fn(&atb_space::Layer) -> usize| {
        layers.iter().map(|layer| size(layer) as f64).sum::<f64>() / layers.len() as f64
    };
    let Workload { batch, sequence } = Workload::default();
    [
        layers.len() as f64,
        arch.hidden() as f64,
        mean(|layer| layer.intermediate),
        mean(|layer| layer.heads),
        mean(|layer| layer.qkv),
        Cost::flops(arch, batch, sequence),
    ]
}

impl Trees {
    /// Fits the trees.
    ///
    /// # Errors
    /// If the observations differ in batch size or sequence length, or the crate refuses
    /// them.
    pub fn fit(observations: &[Observation]) -> Result<Self> {
        one_workload(KIND, observations)?;
        let rows: Vec<[f64; FEATURES]> =
            observations.iter().map(|item| features(&item.arch)).collect();
        let data: Vec<f64> =
            (0..FEATURES).flat_map(|column| rows.iter().map(move |row| row[column])).collect();
        let target: Vec<f64> = observations.iter().map(|item| item.value.ln()).collect();
        let grows = (0..FEATURES).map(|column| (column, Constraint::Positive));
        let mut booster = GradientBooster::default()
            .set_objective_type(ObjectiveType::SquaredLoss)
            .set_iterations(ITERATIONS)
            .set_learning_rate(LEARNING_RATE)
            .set_max_depth(MAX_DEPTH)
            .set_monotone_constraints(Some(grows.collect::<HashMap<_, _>>()))
            .set_parallel(false);
        booster
            .fit_unweighted(&Matrix::new(&data, rows.len(), FEATURES), &target, None)
            .map_err(|error| anyhow!("the trees could not be fitted: {error}"))?;
        Ok(Self { booster })
    }
}

impl Model for Trees {
    fn value(&self, arch: &Architecture, _workload: Workload) -> f64 {
        let row = features(arch);
        self.booster
            .predict(&Matrix::new(&row, 1, FEATURES), false)
            .first()
            .map_or(f64::NAN, |log| log.exp())
    }
}
