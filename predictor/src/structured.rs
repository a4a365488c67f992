//! The structured model: a latency is a sum of non-negative costs of what an encoder
//! computes, fitted in relative error.

use std::collections::BTreeMap;

use atb_space::{Architecture, Workload};
use serde::{Deserialize, Serialize};

use crate::features::{
    ATTENTION, Block, COUNT, EMBEDDING, FEED_FORWARD, NAMES, NORMALISATION, Setting, block_of,
};
use crate::model::{Breakdown, FitError, LatencyModel, Rows};
use crate::nnls::nnls;
use crate::{Observation, linear};

/// Rounds of reweighting that take influence from outliers.
const ROBUST_ROUNDS: usize = 4;
/// Residuals above this many robust standard deviations lose weight (Huber's constant).
const HUBER: f64 = 2.5;

/// Non-negative least squares on analytic features, in relative error.
///
/// The latency of an architecture whose layers are alike is
/// `embedding + L * (normalisation + attention + feed_forward)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Structured {
    tile: (usize, usize),
    coefficients: [f64; COUNT],
    /// Inverse of the Gram matrix of the features with a coefficient, each divided by the
    /// latency: how uncertain the coefficients are.
    covariance: Vec<Vec<f64>>,
}

/// The model as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    /// Rows and columns of the matrix kernel's tile.
    tile: (usize, usize),
    /// Milliseconds for each unit of a feature; features without one cost nothing.
    coefficients: BTreeMap<String, f64>,
    covariance: Vec<Vec<f64>>,
}

impl From<Structured> for Form {
    fn from(model: Structured) -> Self {
        let active = model.active();
        let coefficients =
            active.iter().map(|&i| (NAMES[i].to_owned(), model.coefficients[i])).collect();
        Self { tile: model.tile, coefficients, covariance: model.covariance }
    }
}

impl TryFrom<Form> for Structured {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let mut coefficients = [0.0; COUNT];
        for (name, value) in &form.coefficients {
            let place = NAMES.iter().position(|known| known == name).ok_or_else(|| {
                format!("unknown feature `{name}`, expected one of {}", NAMES.join(", "))
            })?;
            if !(value.is_finite() && *value > 0.0) {
                return Err(format!(
                    "the coefficient of `{name}` is {value}, expected a positive number"
                ));
            }
            coefficients[place] = *value;
        }
        let size = form.coefficients.len();
        if form.covariance.len() != size || form.covariance.iter().any(|row| row.len() != size) {
            return Err(format!(
                "the covariance is not {size} by {size}, the number of coefficients"
            ));
        }
        Ok(Self { tile: form.tile, coefficients, covariance: form.covariance })
    }
}

impl Structured {
    /// Fits the coefficients to `observations`, which may differ in batch and sequence
    /// length; `tile` is the matrix kernel's ([`atb_measurements::AgentContext::tile`]).
    ///
    /// # Errors
    /// [`FitError::NothingFits`] if no feature explains the latencies.
    pub fn fit(observations: &[Observation], tile: (usize, usize)) -> Result<Self, FitError> {
        let rows: Vec<[f64; COUNT]> = observations
            .iter()
            .map(|item| {
                let setting = Setting { tile, workload: item.workload };
                let features = setting.of(item.arch.hidden(), item.arch.layers());
                features.map(|value| value / item.latency_ms)
            })
            .collect();
        let mut weights = vec![1.0; rows.len()];
        let mut coefficients = weighted_fit(&rows, &weights);
        for _ in 0..ROBUST_ROUNDS {
            let errors: Vec<f64> =
                rows.iter().map(|row| (linear::dot(row, &coefficients) - 1.0).abs()).collect();
            let scale = 1.4826 * atb_measurements::median(&errors).unwrap_or(0.0);
            for (weight, error) in weights.iter_mut().zip(&errors) {
                *weight = if *error > HUBER * scale { (HUBER * scale / error).sqrt() } else { 1.0 };
            }
            coefficients = weighted_fit(&rows, &weights);
        }
        let mut model = Self { tile, coefficients, covariance: Vec::new() };
        let active = model.active();
        if active.is_empty() {
            return Err(FitError::NothingFits { count: observations.len() });
        }
        let gram: Vec<Vec<f64>> = active
            .iter()
            .map(|&a| {
                active
                    .iter()
                    .map(|&b| rows.iter().zip(&weights).map(|(r, w)| w * w * r[a] * r[b]).sum())
                    .collect()
            })
            .collect();
        model.covariance =
            scaled_inverse(&gram).ok_or(FitError::NothingFits { count: observations.len() })?;
        Ok(model)
    }

    /// Indices of the features with a coefficient, in the order of their names, which is
    /// the order of the covariance's rows.
    fn active(&self) -> Vec<usize> {
        let mut active: Vec<usize> = (0..COUNT).filter(|&i| self.coefficients[i] > 0.0).collect();
        active.sort_by_key(|&i| NAMES[i]);
        active
    }

    fn block<const N: usize>(&self, block: Block, features: [f64; N]) -> f64 {
        let first = (0..COUNT).position(|i| block_of(i) == block).unwrap_or(0);
        linear::dot(&features, &self.coefficients[first..first + N])
    }

    fn setting(&self, workload: Workload) -> Setting {
        Setting { tile: self.tile, workload }
    }

    /// The part of the latency that occurs once a model: call, embeddings and pooler.
    #[must_use]
    pub fn embedding_ms(&self, workload: Workload, hidden: usize) -> f64 {
        self.block::<EMBEDDING>(Block::Embedding, self.setting(workload).embedding(hidden))
    }

    /// LayerNorm, residuals and fixed costs of one layer.
    #[must_use]
    pub fn normalisation_ms(&self, workload: Workload, hidden: usize) -> f64 {
        let features = self.setting(workload).normalisation(hidden);
        self.block::<NORMALISATION>(Block::Normalisation, features)
    }

    /// Attention of one layer.
    #[must_use]
    pub fn attention_ms(&self, workload: Workload, hidden: usize, heads: usize, qkv: usize) -> f64 {
        let features = self.setting(workload).attention(hidden, heads, qkv);
        self.block::<ATTENTION>(Block::Attention, features)
    }

    /// The feed-forward block of one layer.
    #[must_use]
    pub fn feed_forward_ms(&self, workload: Workload, hidden: usize, intermediate: usize) -> f64 {
        let features = self.setting(workload).feed_forward(hidden, intermediate);
        self.block::<FEED_FORWARD>(Block::FeedForward, features)
    }
}

/// The one expression for architectures whose layers are alike, so that a scan and a
/// single prediction agree to the last bit.
#[inline]
fn uniform_ms(embedding: f64, layers: f64, rest: f64, feed_forward: f64) -> f64 {
    embedding + layers * (rest + feed_forward)
}

fn weighted_fit(rows: &[[f64; COUNT]], weights: &[f64]) -> [f64; COUNT] {
    let columns: Vec<Vec<f64>> = (0..COUNT)
        .map(|i| rows.iter().zip(weights).map(|(row, weight)| weight * row[i]).collect())
        .collect();
    let mut coefficients = [0.0; COUNT];
    coefficients.copy_from_slice(&nnls(&columns, weights));
    coefficients
}

/// The inverse of a Gram matrix whose columns are of very different size.
fn scaled_inverse(gram: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let scale: Vec<f64> = gram.iter().enumerate().map(|(i, row)| row[i].sqrt()).collect();
    let scaled_by = |matrix: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let row = |(row, a): (&Vec<f64>, &f64)| {
            row.iter().zip(&scale).map(|(value, b)| value / (a * b)).collect()
        };
        matrix.iter().zip(&scale).map(row).collect()
    };
    linear::symmetric_inverse(&scaled_by(gram)).map(|inverse| scaled_by(&inverse))
}

impl LatencyModel for Structured {
    fn latency_ms(&self, arch: &Architecture, workload: Workload) -> f64 {
        let hidden = arch.hidden();
        let embedding = self.embedding_ms(workload, hidden);
        let normalisation = self.normalisation_ms(workload, hidden);
        let rest = |layer: &atb_space::Layer| {
            normalisation + self.attention_ms(workload, hidden, layer.heads, layer.qkv)
        };
        if let Some(layer) = arch.uniform_layer() {
            let feed_forward = self.feed_forward_ms(workload, hidden, layer.intermediate);
            return uniform_ms(embedding, arch.num_layers() as f64, rest(&layer), feed_forward);
        }
        let layers = arch
            .layers()
            .iter()
            .map(|layer| rest(layer) + self.feed_forward_ms(workload, hidden, layer.intermediate));
        embedding + layers.sum::<f64>()
    }

    /// `sqrt(1 + leverage)`: the standard deviation of a new measurement's relative error
    /// over that of the noise, by ordinary least squares theory.
    fn uncertainty(&self, arch: &Architecture, workload: Workload) -> f64 {
        let latency_ms = self.latency_ms(arch, workload);
        let features = self.setting(workload).of(arch.hidden(), arch.layers());
        let relative: Vec<f64> = self.active().iter().map(|&i| features[i] / latency_ms).collect();
        let leverage: f64 = relative
            .iter()
            .zip(&self.covariance)
            .map(|(value, row)| value * linear::dot(row, &relative))
            .sum();
        (1.0 + leverage.max(0.0)).sqrt()
    }

    fn breakdown(&self, arch: &Architecture, workload: Workload) -> Option<Breakdown> {
        let hidden = arch.hidden();
        let over_layers = |part: &dyn Fn(&atb_space::Layer) -> f64| -> f64 {
            arch.layers().iter().map(part).sum()
        };
        Some(Breakdown {
            embedding_ms: self.embedding_ms(workload, hidden),
            attention_ms: over_layers(&|layer| {
                self.attention_ms(workload, hidden, layer.heads, layer.qkv)
            }),
            feed_forward_ms: over_layers(&|layer| {
                self.feed_forward_ms(workload, hidden, layer.intermediate)
            }),
            normalisation_ms: arch.num_layers() as f64 * self.normalisation_ms(workload, hidden),
        })
    }

    fn scan(&self, rows: &Rows<'_>, visit: &mut dyn FnMut(usize, usize, &[f64])) {
        let Rows { workload, hidden, .. } = *rows;
        let embedding = self.embedding_ms(workload, hidden);
        let normalisation = self.normalisation_ms(workload, hidden);
        let feed_forward: Vec<f64> = rows
            .intermediates
            .iter()
            .map(|&intermediate| self.feed_forward_ms(workload, hidden, intermediate))
            .collect();
        let mut latencies = vec![0.0; feed_forward.len()];
        for (attention_index, &(heads, qkv)) in rows.attention.iter().enumerate() {
            let rest = normalisation + self.attention_ms(workload, hidden, heads, qkv);
            for (layers_index, &layers) in rows.layers.iter().enumerate() {
                let layers = layers as f64;
                for (latency, part) in latencies.iter_mut().zip(&feed_forward) {
                    *latency = uniform_ms(embedding, layers, rest, *part);
                }
                visit(layers_index, attention_index, &latencies);
            }
        }
    }
}
