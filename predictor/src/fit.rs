//! Fitting: which observations, which kind of model, and what it is worth.

use std::fmt;
use std::str::FromStr;

use atb_space::{Architecture, Layer, Space, Workload};
use serde::{Deserialize, Serialize};

use crate::mlp::MlpSettings;
use crate::model::Model;
use crate::predictor::{LeftOut, SCHEMA};
use crate::validation::{Validation, cross_validate, folds_for};
use crate::{
    Machines, Metrics, Mlp, Observation, Observations, Predictor, Structured, Table, Trees, mlp,
    structured, table, trees,
};

/// Fewest architectures that a predictor is fitted on.
pub const FEWEST: usize = 10;

/// Number of folds that kinds of model are compared with.
const FOLDS_TO_CHOOSE: usize = 5;

/// Which kind of model to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Kind {
    /// Non-negative least squares on analytic features.
    #[default]
    Structured,
    /// A look-up table of blocks.
    Table,
    /// Gradient-boosted trees.
    Trees,
    /// The paper's multi-layer perceptron.
    Mlp(MlpSettings),
    /// The one of these with the smallest cross-validated error; a small perceptron stands
    /// for the paper's, which takes minutes to fit.
    Auto,
}

impl Kind {
    /// Every kind that has a name of its own.
    const NAMED: [Self; 6] = [
        Self::Structured,
        Self::Table,
        Self::Trees,
        Self::Mlp(MlpSettings::SMALL),
        Self::Mlp(MlpSettings::PAPER),
        Self::Auto,
    ];

    /// Number of folds to validate this kind with.
    fn folds(self, count: usize) -> usize {
        match self {
            Self::Mlp(_) => FOLDS_TO_CHOOSE,
            _ => folds_for(count),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Structured => structured::KIND,
            Self::Table => table::KIND,
            Self::Trees => trees::KIND,
            Self::Mlp(MlpSettings::PAPER) => "mlp-paper",
            Self::Mlp(_) => mlp::KIND,
            Self::Auto => "auto",
        })
    }
}

impl FromStr for Kind {
    type Err = FitError;

    /// A kind by its name: `structured`, `table`, `trees`, `mlp` (a small perceptron on the
    /// paper's features), `mlp-paper` (of the paper's size) or `auto`.
    fn from_str(name: &str) -> Result<Self, FitError> {
        Self::NAMED
            .into_iter()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| FitError::UnknownKind { name: name.to_owned() })
    }
}

/// How to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FitSettings {
    /// Which kind of model.
    pub kind: Kind,
    /// Seed of the folds.
    pub seed: u64,
}

/// The kinds of model that were compared, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Each kind with its errors in a cross-validation of five folds, best first.
    pub compared: Vec<(String, Metrics)>,
    /// Why the first was chosen, in a sentence.
    pub reason: String,
}

/// Why no predictor could be fitted.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FitError {
    /// no such kind of model
    #[error(
        "there is no model `{name}`; hint: choose structured, table, trees, mlp, mlp-paper or auto"
    )]
    UnknownKind {
        /// The name as given.
        name: String,
    },
    /// too few measurements
    #[error(
        "a predictor needs at least {needed} measured architectures of the space `{space}`, \
         found {found}{left_out}; hint: measure more with `atb profile`"
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
    /// too few measurements to calibrate with
    #[error(
        "calibration needs at least {needed} measured architectures, found {found}; hint: \
         measure ten with `atb profile`"
    )]
    TooFewToCalibrate {
        /// How many it takes.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// a model that cannot be calibrated
    #[error("a {kind} model cannot be calibrated; hint: fit a structured one")]
    CannotCalibrate {
        /// The kind of model.
        kind: &'static str,
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
         ({first}; {other}); hint: fit it on files of one of them, or use the structured model"
    )]
    MixedWorkloads {
        /// The kind of model.
        kind: &'static str,
        /// The first workload.
        first: String,
        /// One that differs.
        other: String,
    },
    /// trees that could not be grown
    #[error("the trees could not be fitted: {problem}")]
    Trees {
        /// Why.
        problem: String,
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

/// `batch 1, sequence length 128`.
pub(crate) fn describe(workload: Workload) -> String {
    format!("batch {}, sequence length {}", workload.batch, workload.sequence)
}

/// Refuses observations of several batches or sequence lengths.
pub(crate) fn one_workload(
    kind: &'static str,
    observations: &[Observation],
) -> Result<(), FitError> {
    let first = observations.first().map(|item| item.workload);
    match observations.iter().find(|item| Some(item.workload) != first) {
        None => Ok(()),
        Some(other) => Err(FitError::MixedWorkloads {
            kind,
            first: first.map_or_else(String::new, describe),
            other: describe(other.workload),
        }),
    }
}

impl Predictor {
    /// Fits a predictor for `space` to what was measured and cross-validates it.
    /// Architectures outside the space are left out and listed in
    /// [`Predictor::left_out`].
    ///
    /// # Errors
    /// [`FitError`] if there are too few architectures, a size never varies, or nothing
    /// fits.
    pub fn fit(
        observations: &Observations,
        space: &Space,
        settings: &FitSettings,
    ) -> Result<Self, FitError> {
        let (items, left_out) = usable(observations, space)?;
        check_varied(&items.iter().map(|item| &item.arch).collect::<Vec<_>>(), space)?;
        let machines = Machines::of(&observations.sources);
        let validated = |kind, folds| -> Result<Validation, FitError> {
            cross_validate(&items, folds, settings.seed, &|items| fit_one(kind, items, &machines))
        };
        let (kind, choice) = match settings.kind {
            Kind::Auto => {
                let kinds =
                    [Kind::Structured, Kind::Table, Kind::Trees, Kind::Mlp(MlpSettings::SMALL)];
                let (kind, choice) =
                    choose(kinds.map(|kind| (kind, validated(kind, FOLDS_TO_CHOOSE))))?;
                (kind, Some(choice))
            }
            kind => (kind, None),
        };
        let validation = validated(kind, kind.folds(items.len()))?;
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
            sources: observations.sources.clone(),
            calibrated_from: Vec::new(),
            baselines: observations.baselines.iter().map(Into::into).collect(),
            noise: observations.noise,
            left_out,
            validation,
            choice,
            model: fit_one(kind, &items, &machines)?,
        })
    }
}

/// Fits one model of a kind other than [`Kind::Auto`], which is taken as the default kind.
///
/// # Errors
/// [`FitError`] if the observations do not suit the kind.
pub fn fit_one(
    kind: Kind,
    observations: &[Observation],
    machines: &Machines,
) -> Result<Model, FitError> {
    match kind {
        Kind::Structured | Kind::Auto => {
            Structured::fit(observations, machines).map(Model::Structured)
        }
        Kind::Table => Table::fit(observations).map(Model::Table),
        Kind::Trees => Trees::fit(observations).map(Model::Trees),
        Kind::Mlp(settings) => Mlp::fit(observations, &settings).map(Model::Mlp),
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

/// The kind with the smallest cross-validated error; kinds that cannot be fitted to these
/// observations drop out.
fn choose<const N: usize>(
    outcomes: [(Kind, Result<Validation, FitError>); N],
) -> Result<(Kind, Choice), FitError> {
    let mut fitted: Vec<(Kind, Metrics)> = Vec::new();
    let mut refused = None;
    for (kind, outcome) in outcomes {
        match outcome {
            Ok(validation) => fitted.push((kind, validation.metrics)),
            Err(error) => refused = Some(error),
        }
    }
    fitted.sort_by(|a, b| a.1.mape.total_cmp(&b.1.mape));
    let reason = match fitted[..] {
        [] => return Err(refused.unwrap_or(FitError::NothingFits { count: 0 })),
        [(only, _)] => format!("only the {only} model can be fitted to these measurements"),
        [(best, metrics), (next, others), ..] => format!(
            "the {best} model has the smallest cross-validated error, {:.2} % against {:.2} % of \
             the next, {next}",
            100.0 * metrics.mape,
            100.0 * others.mape,
        ),
    };
    let compared = fitted.iter().map(|(kind, metrics)| (kind.to_string(), *metrics)).collect();
    Ok((fitted[0].0, Choice { compared, reason }))
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
