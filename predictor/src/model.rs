//! What every kind of model can do, and the kinds there are.

use atb_space::{Architecture, Layer, Workload};
use serde::{Deserialize, Serialize};

use crate::{Mlp, Structured, Table, Trees, mlp, structured, table, trees};

/// Latency by part of the network, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Call, embeddings and pooler.
    pub embedding_ms: f64,
    /// Projections, scores and softmax of all layers.
    pub attention_ms: f64,
    /// Feed-forward blocks of all layers.
    pub feed_forward_ms: f64,
    /// LayerNorm, residuals and fixed costs of all layers.
    pub normalisation_ms: f64,
}

/// A grid of architectures of one hidden size, each with layers that are alike.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Batch and sequence length.
    pub workload: Workload,
    /// Hidden size.
    pub hidden: usize,
    /// Numbers of layers.
    pub layers: &'a [usize],
    /// Heads and q|k|v sizes.
    pub attention: &'a [(usize, usize)],
    /// Intermediate sizes: the architectures of one row.
    pub intermediates: &'a [usize],
}

/// A fitted model of latency.
pub trait LatencyModel: Send + Sync {
    /// Predicted latency, in milliseconds.
    fn latency_ms(&self, arch: &Architecture, workload: Workload) -> f64;

    /// How large the relative error is expected to be there, relative to elsewhere; 1
    /// where the model cannot tell.
    fn uncertainty(&self, _arch: &Architecture, _workload: Workload) -> f64 {
        1.0
    }

    /// The latency by part, where the model can tell.
    fn breakdown(&self, _arch: &Architecture, _workload: Workload) -> Option<Breakdown> {
        None
    }

    /// Predicts a whole grid: calls `visit(layers_index, attention_index, latencies_ms)`
    /// for every row, with one latency for each of `rows.intermediates`. The values are
    /// those of [`LatencyModel::latency_ms`].
    fn scan(&self, rows: &Rows<'_>, visit: &mut dyn FnMut(usize, usize, &[f64])) {
        let mut latencies = vec![0.0; rows.intermediates.len()];
        for (attention_index, &(heads, qkv)) in rows.attention.iter().enumerate() {
            for (layers_index, &layers) in rows.layers.iter().enumerate() {
                for (latency, &intermediate) in latencies.iter_mut().zip(rows.intermediates) {
                    let layer = Layer { intermediate, heads, qkv };
                    *latency = Architecture::uniform(layers, rows.hidden, layer)
                        .map_or(f64::NAN, |arch| self.latency_ms(&arch, rows.workload));
                }
                visit(layers_index, attention_index, &latencies);
            }
        }
    }
}

/// The kinds of model, as they stand in a predictor file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Model {
    /// Non-negative least squares on analytic features.
    Structured(Structured),
    /// A look-up table of blocks.
    Table(Table),
    /// Gradient-boosted trees.
    Trees(Trees),
    /// The paper's multi-layer perceptron.
    Mlp(Mlp),
}

impl Model {
    /// The kind's name, as in a predictor file.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Structured(_) => structured::KIND,
            Self::Table(_) => table::KIND,
            Self::Trees(_) => trees::KIND,
            Self::Mlp(_) => mlp::KIND,
        }
    }

    /// The model behind its common interface.
    #[must_use]
    pub fn as_model(&self) -> &dyn LatencyModel {
        match self {
            Self::Structured(model) => model,
            Self::Table(model) => model,
            Self::Trees(model) => model,
            Self::Mlp(model) => model,
        }
    }
}
