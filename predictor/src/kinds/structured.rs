//! The structured model: a value is a sum of non-negative costs of what an encoder
//! computes, fitted in relative error.

use std::collections::BTreeMap;

use atb_space::{Architecture, Layer, Workload};
use serde::{Deserialize, Serialize};

use crate::error::FitError;
use crate::features::{
    COUNT, Features, Machines, NAMES, Setting, Work, needs_several_workloads, work_of,
};
use crate::linear;
use crate::model::{Breakdown, Fit, Model, Rows};
use crate::nnls::nnls;
use crate::observation::Observation;

/// Rounds of reweighting that take influence from outliers.
const ROBUST_ROUNDS: usize = 4;
/// Residuals above this many robust standard deviations lose weight (Huber's constant).
const HUBER: f64 = 2.5;
/// How strongly a kind of work keeps its proportion to the others when a model is calibrated:
/// the relative error of a measurement over the relative change of a proportion that is likely
/// between devices.
const STIFFNESS: f64 = 0.07;

/// Non-negative least squares on analytic features, in relative error.
///
/// The value of an architecture whose layers are alike is
/// `embedding + L * (normalisation + attention + feed_forward)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Structured {
    machines: Machines,
    /// Cost for each unit of a feature, none negative.
    coefficients: Features,
    /// Inverse of the Gram matrix of the features with a coefficient, each divided by the
    /// value: how uncertain the coefficients are.
    covariance: Vec<Vec<f64>>,
}

/// The model as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    machines: Machines,
    /// Cost for each unit of a feature; features without one cost nothing.
    coefficients: BTreeMap<String, f64>,
    covariance: Vec<Vec<f64>>,
}

impl From<Structured> for Form {
    fn from(model: Structured) -> Self {
        let active = model.active();
        let coefficients =
            active.iter().map(|&i| (NAMES[i].to_owned(), model.coefficients[i])).collect();
        Self { machines: model.machines, coefficients, covariance: model.covariance }
    }
}

impl TryFrom<Form> for Structured {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        form.machines.check()?;
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
        Ok(Self { machines: form.machines, coefficients, covariance: form.covariance })
    }
}

impl Structured {
    /// Indices of the features with a coefficient, in the order of their names, which is
    /// the order of the covariance's rows.
    fn active(&self) -> Vec<usize> {
        let mut active: Vec<usize> = (0..COUNT).filter(|&i| self.coefficients[i] > 0.0).collect();
        active.sort_by_key(|&i| NAMES[i]);
        active
    }

    /// What each feature contributes to an architecture's value.
    fn costs(&self, arch: &Architecture, workload: Workload) -> Features {
        let features = self.setting(workload).of(arch);
        std::array::from_fn(|i| features[i] * self.coefficients[i])
    }

    /// The model with each coefficient times `scales`, none negative; `None` if nothing is
    /// left.
    fn with_scaled_coefficients(&self, scales: &Features) -> Option<Self> {
        let active = self.active();
        let kept: Vec<usize> = (0..active.len()).filter(|&i| scales[active[i]] > 0.0).collect();
        let covariance = kept
            .iter()
            .map(|&a| {
                let entry =
                    |&b: &usize| self.covariance[a][b] * scales[active[a]] * scales[active[b]];
                kept.iter().map(entry).collect()
            })
            .collect();
        let coefficients = std::array::from_fn(|i| self.coefficients[i] * scales[i]);
        (!kept.is_empty()).then_some(Self {
            machines: self.machines.clone(),
            coefficients,
            covariance,
        })
    }

    fn cost(&self, features: &Features) -> f64 {
        linear::dot(features, &self.coefficients)
    }

    fn setting(&self, workload: Workload) -> Setting {
        setting(&self.machines, workload)
    }
}

fn setting(machines: &Machines, workload: Workload) -> Setting {
    Setting { machine: machines.at(workload), workload }
}

/// The one expression for architectures whose layers are alike, so that a scan and a
/// single prediction agree to the last bit.
#[inline]
fn uniform(embedding: f64, layers: f64, rest: f64, feed_forward: f64) -> f64 {
    embedding + layers * (rest + feed_forward)
}

fn weighted_fit(rows: &[Features], weights: &[f64]) -> Features {
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

impl Fit for Structured {
    /// Fits the coefficients to `observations`, which may differ in batch and sequence
    /// length.
    ///
    /// # Errors
    /// [`FitError::NothingFits`] if no feature explains the values.
    fn fit(observations: &[Observation], machines: &Machines) -> Result<Self, FitError> {
        let several = observations.iter().any(|item| item.workload != observations[0].workload);
        let rows: Vec<Features> = observations
            .iter()
            .map(|item| {
                let mut row = setting(machines, item.workload).of(&item.arch);
                for (index, value) in row.iter_mut().enumerate() {
                    *value /= item.value;
                    if needs_several_workloads(index) && !several {
                        *value = 0.0;
                    }
                }
                row
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
        let machines = machines.clone();
        let mut model = Self { machines, coefficients, covariance: Vec::new() };
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

    /// What changes between devices is mostly how fast each kind of work is done: calls,
    /// element-wise passes, matrix products. So the coefficients of each kind are scaled
    /// together, and a kind that the measurements say little of keeps its proportion to the
    /// others.
    fn calibrated(
        &self,
        observations: &[Observation],
        machines: &Machines,
    ) -> Result<Self, FitError> {
        let kinds = [Work::Calls, Work::Elements, Work::Products];
        let moved = Self { machines: machines.clone(), ..self.clone() };
        // The share of each kind of work in each measured value, as predicted so far.
        let mut shares: Vec<Vec<f64>> = kinds
            .iter()
            .map(|kind| {
                observations
                    .iter()
                    .map(|item| {
                        let costs = moved.costs(&item.arch, item.workload);
                        let cost: f64 =
                            (0..COUNT).filter(|&i| work_of(i) == *kind).map(|i| costs[i]).sum();
                        cost / item.value
                    })
                    .collect()
            })
            .collect();
        let sums: Vec<f64> =
            (0..observations.len()).map(|row| shares.iter().map(|kind| kind[row]).sum()).collect();
        let common = sums.iter().sum::<f64>() / linear::dot(&sums, &sums);
        if !(common.is_finite() && common > 0.0) {
            return Err(FitError::NothingFits { count: observations.len() });
        }
        let mut target = vec![1.0; observations.len()];
        for kind in 0..kinds.len() {
            target.push(STIFFNESS);
            for (other, column) in shares.iter_mut().enumerate() {
                column.push(if kind == other { STIFFNESS / common } else { 0.0 });
            }
        }
        let scales = nnls(&shares, &target);
        let by_feature: Features = std::array::from_fn(|index| {
            let place = kinds.iter().position(|kind| *kind == work_of(index)).unwrap_or(0);
            scales[place]
        });
        moved
            .with_scaled_coefficients(&by_feature)
            .ok_or(FitError::NothingFits { count: observations.len() })
    }
}

impl Model for Structured {
    fn value(&self, arch: &Architecture, workload: Workload) -> f64 {
        let (setting, hidden) = (self.setting(workload), arch.hidden());
        let embedding = self.cost(&setting.embedding(hidden));
        let normalisation = self.cost(&setting.normalisation(hidden));
        let attention =
            |layer: &Layer| self.cost(&setting.attention(hidden, layer.heads, layer.qkv));
        let feed_forward =
            |layer: &Layer| self.cost(&setting.feed_forward(hidden, layer.intermediate));
        if let Some(layer) = arch.uniform_layer() {
            let rest = normalisation + attention(&layer);
            return uniform(embedding, arch.num_layers() as f64, rest, feed_forward(&layer));
        }
        let layers = arch.layers().iter();
        embedding
            + layers
                .map(|layer| normalisation + attention(layer) + feed_forward(layer))
                .sum::<f64>()
    }

    /// `sqrt(1 + leverage)`: the standard deviation of a new measurement's relative error
    /// over that of the noise, by ordinary least squares theory.
    fn uncertainty(&self, arch: &Architecture, workload: Workload) -> f64 {
        let whole = self.value(arch, workload);
        let features = self.setting(workload).of(arch);
        let relative: Vec<f64> = self.active().iter().map(|&i| features[i] / whole).collect();
        let leverage: f64 = relative
            .iter()
            .zip(&self.covariance)
            .map(|(value, row)| value * linear::dot(row, &relative))
            .sum();
        (1.0 + leverage.max(0.0)).sqrt()
    }

    fn breakdown(&self, arch: &Architecture, workload: Workload) -> Option<Breakdown> {
        let (setting, hidden) = (self.setting(workload), arch.hidden());
        let over_layers = |part: &dyn Fn(&Layer) -> Features| -> f64 {
            arch.layers().iter().map(|layer| self.cost(&part(layer))).sum()
        };
        Some(Breakdown {
            embedding: self.cost(&setting.embedding(hidden)),
            attention: over_layers(&|layer| setting.attention(hidden, layer.heads, layer.qkv)),
            feed_forward: over_layers(&|layer| setting.feed_forward(hidden, layer.intermediate)),
            normalisation: over_layers(&|_| setting.normalisation(hidden)),
        })
    }

    fn scan(&self, rows: &Rows<'_>, visit: &mut dyn FnMut(usize, usize, &[f64])) {
        let (setting, hidden) = (self.setting(rows.workload), rows.hidden);
        let embedding = self.cost(&setting.embedding(hidden));
        let normalisation = self.cost(&setting.normalisation(hidden));
        let feed_forward: Vec<f64> = rows
            .intermediates
            .iter()
            .map(|&intermediate| self.cost(&setting.feed_forward(hidden, intermediate)))
            .collect();
        let mut values = vec![0.0; feed_forward.len()];
        for (attention_index, &(heads, qkv)) in rows.attention.iter().enumerate() {
            let rest = normalisation + self.cost(&setting.attention(hidden, heads, qkv));
            for (layers_index, &layers) in rows.layers.iter().enumerate() {
                let layers = layers as f64;
                for (value, part) in values.iter_mut().zip(&feed_forward) {
                    *value = uniform(embedding, layers, rest, *part);
                }
                visit(layers_index, attention_index, &values);
            }
        }
    }
}
