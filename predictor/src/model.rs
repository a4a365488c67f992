//! What every kind of predictor can do, and why none could be fitted.

use atb_space::{Architecture, Layer, Space, Workload};
use serde::{Deserialize, Serialize};

use crate::Structured;

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
}

impl Model {
    /// The kind's name, as in a predictor file.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Structured(_) => "structured",
        }
    }

    /// The model behind its common interface.
    #[must_use]
    pub fn as_model(&self) -> &dyn LatencyModel {
        match self {
            Self::Structured(model) => model,
        }
    }
}

/// Why no predictor could be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// too few measurements
    #[error(
        "a predictor needs at least {needed} measured architectures of the space `{space}`, \
         there are {found}{left_out}; hint: measure more with `atb profile`"
    )]
    TooFew {
        /// How many it takes.
        needed: usize,
        /// The space's name.
        space: String,
        /// How many there are.
        found: usize,
        /// How many are not in the space, in words, or nothing.
        left_out: String,
    },
    /// a size that never varies although the space's does
    #[error(
        "all {count} measured architectures have the {what} {value}, but the space `{space}` \
         has others; hint: measure architectures that differ in it"
    )]
    Degenerate {
        /// How many were measured.
        count: usize,
        /// The size that does not vary.
        what: &'static str,
        /// Its only value.
        value: usize,
        /// The space's name.
        space: String,
    },
    /// several batches or sequence lengths where the model knows one
    #[error(
        "the {kind} model knows one batch and sequence length, the measurements have several \
         ({first} and {other}); hint: fit it on files of one of them, or use the structured model"
    )]
    MixedWorkloads {
        /// The kind of model.
        kind: &'static str,
        /// The first workload.
        first: String,
        /// One that differs.
        other: String,
    },
    /// latencies that nothing explains
    #[error(
        "no combination of the features explains the latencies of {count} architectures; \
         hint: check the measurement file, latencies should grow with the architecture"
    )]
    NothingFits {
        /// How many were measured.
        count: usize,
    },
}

/// Checks that every size that ranges in `space` takes more than one value.
pub(crate) fn check_varied(archs: &[&Architecture], space: &Space) -> Result<(), FitError> {
    let layer_sizes = |size: fn(&Layer) -> usize| {
        move |arch: &Architecture| arch.layers().iter().map(size).collect::<Vec<usize>>()
    };
    let qkv_ranges = space
        .heads
        .values()
        .flat_map(|heads| space.qkv.sizes(heads))
        .collect::<std::collections::BTreeSet<_>>()
        .len()
        > 1;
    type Sizes = Box<dyn Fn(&Architecture) -> Vec<usize>>;
    let sizes: [(&'static str, bool, Sizes); 4] = [
        ("number of layers", space.layers.len() > 1, Box::new(|arch| vec![arch.num_layers()])),
        ("hidden size", space.hidden.len() > 1, Box::new(|arch| vec![arch.hidden()])),
        (
            "intermediate size",
            space.intermediate.len() > 1,
            Box::new(layer_sizes(|layer| layer.intermediate)),
        ),
        ("q|k|v size", qkv_ranges, Box::new(layer_sizes(|layer| layer.qkv))),
    ];
    for (what, ranges, values) in sizes {
        let mut seen = archs.iter().flat_map(|arch| values(arch));
        let Some(first) = seen.next() else { continue };
        if ranges && seen.all(|value| value == first) {
            let space = space.name.clone();
            return Err(FitError::Degenerate { count: archs.len(), what, value: first, space });
        }
    }
    Ok(())
}
