//! Carries a predictor over to another device, sequence length or runtime version with a
//! handful of measurements.
//!
//! What changes between devices is mostly how fast each kind of work is done: calls,
//! element-wise passes, matrix products. So the coefficients of each kind are scaled
//! together, and a kind that the measurements say little of keeps its proportion to the
//! others.

use crate::error::{FitError, describe};
use crate::features::{COUNT, Features, Machines, Work, work_of};
use crate::kinds::Fitted;
use crate::linear;
use crate::nnls::nnls;
use crate::observation::{Observation, Observations};
use crate::predictor::{Predictor, SCHEMA};
use crate::structured::Structured;
use crate::validation::{cross_validate, folds_for};

/// Fewest measured architectures to calibrate with.
pub const FEWEST: usize = 5;

/// How strongly a kind of work keeps its proportion to the others: the relative error of
/// a measurement over the relative change of a proportion that is likely between devices.
const STIFFNESS: f64 = 0.07;

impl Predictor {
    /// A predictor for what `observations` were measured on, made of this one. Ten
    /// measurements do; [`design::choose`](crate::design::choose) says which.
    ///
    /// # Errors
    /// [`FitError::TooFewToCalibrate`], [`FitError::MixedWorkloads`], [`FitError::Quantity`],
    /// or [`FitError::NothingFits`].
    pub fn calibrate(&self, observations: &Observations, seed: u64) -> Result<Self, FitError> {
        let Fitted::Structured(model) = &self.model;
        if observations.quantity != self.quantity {
            let (measured, predicted) = (observations.quantity, self.quantity);
            return Err(FitError::Quantity { measured, predicted });
        }
        observations.check()?;
        let items = &observations.items;
        if items.len() < FEWEST {
            return Err(FitError::TooFewToCalibrate { needed: FEWEST, found: items.len() });
        }
        let workload = items[0].workload;
        if let Some(other) = items.iter().find(|item| item.workload != workload) {
            let (first, other) = (describe(workload), describe(other.workload));
            return Err(FitError::MixedWorkloads { kind: "calibrated", first, other });
        }
        let machines = match observations.sources.is_empty() {
            true => self.machines(),
            false => Machines::of(&observations.sources),
        };
        let fit = |items: &[Observation]| scaled(model, items, &machines).map(Fitted::Structured);
        Ok(Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            space: self.space.clone(),
            workloads: vec![workload],
            quantity: self.quantity,
            sources: observations.sources.clone(),
            calibrated_from: self.sources.clone(),
            baselines: observations.baselines.iter().map(Into::into).collect(),
            noise: observations.noise,
            left_out: Vec::new(),
            validation: cross_validate(items, folds_for(items.len()), seed, fit)?,
            model: fit(items)?,
        })
    }
}

/// The model with the coefficients of each kind of work scaled to fit `observations`.
fn scaled(
    model: &Structured,
    observations: &[Observation],
    machines: &Machines,
) -> Result<Structured, FitError> {
    let kinds = [Work::Calls, Work::Elements, Work::Products];
    let moved = model.clone().on(machines.clone());
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
