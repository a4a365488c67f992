//! Carries a predictor over to another device, sequence length or runtime version with a
//! handful of measurements.

use crate::error::{FitError, describe};
use crate::features::Machines;
use crate::observation::{Observation, Observations};
use crate::predictor::{Predictor, SCHEMA};
use crate::validation::{cross_validate, folds_for};

/// Fewest measured architectures to calibrate with.
pub const FEWEST: usize = 5;

impl Predictor {
    /// A predictor for what `observations` were measured on, made of this one. Ten
    /// measurements do; [`design::choose`](crate::design::choose) says which.
    ///
    /// # Errors
    /// [`FitError::TooFewToCalibrate`], [`FitError::MixedWorkloads`], [`FitError::Quantity`],
    /// or [`FitError::NothingFits`].
    pub fn calibrate(&self, observations: &Observations, seed: u64) -> Result<Self, FitError> {
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
        let fit = |items: &[Observation]| self.model.calibrated(items, &machines);
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
