//! Fitting: which observations, which kind of model, and what it is worth.

use atb_space::{Architecture, Layer, Space};

use crate::error::FitError;
use crate::features::Machines;
use crate::kinds::Kind;
use crate::observation::{Observation, Observations};
use crate::predictor::{LeftOut, Predictor, SCHEMA};
use crate::validation::{cross_validate, folds_for};

/// Fewest architectures that a predictor is fitted on.
pub const FEWEST: usize = 10;

/// How to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FitSettings {
    /// Which kind of model.
    pub kind: Kind,
    /// Seed of the folds.
    pub seed: u64,
}

impl Predictor {
    /// Fits a predictor for `space` to what was measured and cross-validates it.
    /// Architectures outside the space are left out and listed in
    /// [`Predictor::left_out`].
    ///
    /// # Errors
    /// [`FitError`] if there are too few architectures, a size never varies, a value is not
    /// a positive number, or nothing fits.
    pub fn fit(
        observations: &Observations,
        space: &Space,
        settings: &FitSettings,
    ) -> Result<Self, FitError> {
        observations.check()?;
        let (items, left_out) = usable(observations, space)?;
        check_varied(&items.iter().map(|item| &item.arch).collect::<Vec<_>>(), space)?;
        let machines = Machines::of(&observations.sources);
        let fit = |items: &[Observation]| settings.kind.fit(items, &machines);
        let validation = cross_validate(&items, folds_for(items.len()), settings.seed, fit)?;
        let mut workloads = Vec::new();
        for item in &items {
            if !workloads.contains(&item.workload) {
                workloads.push(item.workload);
            }
        }
        Ok(Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            space: space.clone(),
            workloads,
            quantity: observations.quantity,
            sources: observations.sources.clone(),
            calibrated_from: Vec::new(),
            baselines: observations.baselines.iter().map(Into::into).collect(),
            noise: observations.noise,
            left_out,
            validation,
            model: fit(&items)?,
        })
    }
}

/// The observations that lie in the space, and the others.
fn usable(
    observations: &Observations,
    space: &Space,
) -> Result<(Vec<Observation>, Vec<LeftOut>), FitError> {
    let mut left_out: Vec<LeftOut> = Vec::new();
    let mut items = Vec::new();
    for item in &observations.items {
        match space.check(&item.arch) {
            Ok(()) => items.push(item.clone()),
            Err(error) => {
                left_out.push(LeftOut { arch: item.arch.clone(), reason: error.to_string() });
            }
        }
    }
    if items.len() >= FEWEST {
        return Ok((items, left_out));
    }
    Err(FitError::TooFew {
        needed: FEWEST,
        space: space.name.clone(),
        found: items.len(),
        left_out: left_out.first().map_or_else(String::new, |first| {
            format!(" and {} outside it, the first because {}", left_out.len(), first.reason)
        }),
    })
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
