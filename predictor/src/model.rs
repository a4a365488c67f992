//! What every kind of model can do; a kind implements [`Model`] and [`Fit`] and is registered
//! in [`crate::kinds`].

use atb_space::{Architecture, Layer, Workload};
use serde::{Deserialize, Serialize};

use crate::error::FitError;
use crate::features::Machines;
use crate::observation::Observation;

/// A predicted value by part of the network, in the unit of the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Call, embeddings and pooler.
    pub embedding: f64,
    /// Projections, scores and softmax of all layers.
    pub attention: f64,
    /// Feed-forward blocks of all layers.
    pub feed_forward: f64,
    /// LayerNorm, residuals and fixed costs of all layers.
    pub normalisation: f64,
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

/// A fitted model of a measured quantity; its values are in the unit of what it was fitted
/// on.
pub trait Model: Send + Sync {
    /// The predicted value.
    fn value(&self, arch: &Architecture, workload: Workload) -> f64;

    /// How large the relative error is expected to be there, relative to elsewhere; 1
    /// where the model cannot tell.
    fn uncertainty(&self, _arch: &Architecture, _workload: Workload) -> f64 {
        1.0
    }

    /// The value by part, where the model can tell.
    fn breakdown(&self, _arch: &Architecture, _workload: Workload) -> Option<Breakdown> {
        None
    }

    /// Predicts a whole grid: calls `visit(layers_index, attention_index, values)` for every
    /// row, with one value for each of `rows.intermediates`. The values are those of
    /// [`Model::value`].
    fn scan(&self, rows: &Rows<'_>, visit: &mut dyn FnMut(usize, usize, &[f64])) {
        let mut values = vec![0.0; rows.intermediates.len()];
        for (attention_index, &(heads, qkv)) in rows.attention.iter().enumerate() {
            for (layers_index, &layers) in rows.layers.iter().enumerate() {
                for (value, &intermediate) in values.iter_mut().zip(rows.intermediates) {
                    let layer = Layer { intermediate, heads, qkv };
                    *value = Architecture::uniform(layers, rows.hidden, layer)
                        .map_or(f64::NAN, |arch| self.value(&arch, rows.workload));
                }
                visit(layers_index, attention_index, &values);
            }
        }
    }
}

/// A kind of model that is fitted to observations.
pub trait Fit: Model + Sized {
    /// Fits a model.
    ///
    /// # Errors
    /// [`FitError`] if the observations do not suit the kind.
    fn fit(observations: &[Observation], machines: &Machines) -> Result<Self, FitError>;

    /// This model carried over to what a handful of `observations` were measured on, with
    /// those `machines`.
    ///
    /// # Errors
    /// [`FitError`] if nothing explains the values, or by default that the kind cannot.
    fn calibrated(&self, _: &[Observation], _: &Machines) -> Result<Self, FitError> {
        Err(FitError::NotCalibrated)
    }
}
