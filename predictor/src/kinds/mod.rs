//! The kinds of model that a predictor can hold. A new one is a file in this folder and its line
//! in the list below: `atb fit --model` knows it by that, and so do predictor files.

mod structured;

use std::fmt;
use std::str::FromStr;

use atb_space::{Architecture, Workload};
use serde::{Deserialize, Serialize};

use crate::error::{FitError, UnknownKind};
use crate::features::Machines;
use crate::model::{Breakdown, Fit, Model, Rows};
use crate::observation::Observation;

pub use structured::Structured;

macro_rules! kinds {
    ($($(#[$documentation:meta])* $name:literal, $about:literal => $kind:ident,)*) => {
        /// Which kind of model to fit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$documentation])* $kind,)*
        }

        impl Kind {
            /// Every kind, the usual one first.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The name in files, messages and on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// What it is, in a few words.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$kind => $about,)*
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
                    $(Self::$kind => $kind::fit(observations, machines).map(Fitted::$kind),)*
                }
            }
        }

        /// A fitted model of any kind, as it stands in a predictor file.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum Fitted {
            $($(#[$documentation])* #[serde(rename = $name)] $kind($kind),)*
        }

        impl Fitted {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// The model behind its common interface.
            #[must_use]
            pub fn as_model(&self) -> &dyn Model {
                match self {
                    $(Self::$kind(model) => model,)*
                }
            }

            /// This model carried over to what `observations` were measured on.
            ///
            /// # Errors
            /// [`FitError`] if the kind cannot, or nothing explains the values.
            pub(crate) fn calibrated(
                &self,
                observations: &[Observation],
                machines: &Machines,
            ) -> Result<Self, FitError> {
                match self {
                    $(Self::$kind(model) => {
                        model.calibrated(observations, machines).map(Self::$kind)
                    })*
                }
            }
        }
    };
}

kinds! {
    /// Non-negative least squares on analytic features.
    "structured", "Non-negative least squares on analytic features" => Structured,
}

impl Kind {
    /// Kinds that former versions fitted and that never did better; `compare-predictors` among
    /// the benchmarks still compares them.
    pub const RETIRED: &[&str] = &["table", "trees", "mlp", "mlp-paper", "auto"];
}

impl Default for Kind {
    fn default() -> Self {
        Self::ALL[0]
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
        let named = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        named.ok_or_else(|| match Self::RETIRED.contains(&name) {
            true => UnknownKind::Retired { name: name.to_owned() },
            false => {
                let known = Self::ALL.iter().map(|kind| format!("`{kind}`"));
                let known = known.collect::<Vec<_>>().join(", ");
                UnknownKind::Unknown { name: name.to_owned(), known }
            }
        })
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
