//! The kinds of model that a predictor can hold, by name: what `atb fit --model` knows and
//! what stands in a predictor file.

use std::fmt;
use std::str::FromStr;

use atb_space::{Architecture, Workload};
use serde::{Deserialize, Serialize};

use crate::error::{FitError, UnknownKind};
use crate::features::Machines;
use crate::model::{Breakdown, Model, Rows};
use crate::observation::Observation;
use crate::structured::Structured;

/// Which kind of model to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Non-negative least squares on analytic features.
    #[default]
    Structured,
}

/// Kinds that former versions fitted and that never did better; `compare-predictors` among
/// the benchmarks still compares them.
const RETIRED: [&str; 5] = ["table", "trees", "mlp", "mlp-paper", "auto"];

/// Whether former versions had a kind of this name.
pub(crate) fn is_retired(name: &str) -> bool {
    RETIRED.contains(&name)
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 1] = [Self::Structured];

    /// The name in files, messages and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Structured => "structured",
        }
    }

    /// Fits a model of this kind.
    ///
    /// # Errors
    /// [`FitError`] if the observations do not suit the kind.
    pub fn fit(
        self,
        observations: &[Observation],
        machines: &Machines,
    ) -> Result<Fitted, FitError> {
        match self {
            Self::Structured => Structured::fit(observations, machines).map(Fitted::Structured),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| match is_retired(name) {
            true => UnknownKind::Retired { name: name.to_owned() },
            false => UnknownKind::Unknown { name: name.to_owned() },
        })
    }
}

/// A fitted model of any kind, as it stands in a predictor file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fitted {
    /// Non-negative least squares on analytic features.
    Structured(Structured),
}

impl Fitted {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Structured(_) => Kind::Structured,
        }
    }

    /// The model behind its common interface.
    #[must_use]
    pub fn as_model(&self) -> &dyn Model {
        match self {
            Self::Structured(model) => model,
        }
    }
}

impl Model for Fitted {
    fn value(&self, arch: &Architecture, workload: Workload) -> f64 {
        self.as_model().value(arch, workload)
    }

    fn uncertainty(&self, arch: &Architecture, workload: Workload) -> f64 {
        self.as_model().uncertainty(arch, workload)
    }

    fn breakdown(&self, arch: &Architecture, workload: Workload) -> Option<Breakdown> {
        self.as_model().breakdown(arch, workload)
    }

    fn scan(&self, rows: &Rows<'_>, visit: &mut dyn FnMut(usize, usize, &[f64])) {
        self.as_model().scan(rows, visit);
    }
}
