//! The kinds of predictor that are compared. To add one, write a file with a type that
//! implements [`Model`], and add a line to [`Candidate::fit`] and [`Candidate::name`].

mod mlp;
mod table;
mod trees;

use std::fmt;

use anyhow::Result;
use atb_predictor::{Kind, Machines, Model, Observation};

pub use mlp::{Mlp, MlpSettings};
pub use table::Table;
pub use trees::Trees;

/// A kind of predictor to compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Candidate {
    /// A kind that the product has.
    Product(Kind),
    /// A look-up table of blocks.
    Table,
    /// Gradient-boosted trees.
    Trees,
    /// The paper's multi-layer perceptron.
    Perceptron(MlpSettings),
}

impl Candidate {
    /// Fits one model of this kind.
    ///
    /// # Errors
    /// If the observations do not suit the kind.
    pub fn fit(self, observations: &[Observation], machines: &Machines) -> Result<Box<dyn Model>> {
        Ok(match self {
            Self::Product(kind) => Box::new(kind.fit(observations, machines)?),
            Self::Table => Box::new(Table::fit(observations)?),
            Self::Trees => Box::new(Trees::fit(observations)?),
            Self::Perceptron(settings) => Box::new(Mlp::fit(observations, &settings)?),
        })
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Product(kind) => kind.to_string(),
            Self::Table => "look-up table".to_owned(),
            Self::Trees => "boosted trees".to_owned(),
            Self::Perceptron(settings) => format!("perceptron of width {}", settings.width),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}
