//! A number for one or two texts.

use super::Asked;
use crate::TaskError;
use crate::metrics::Outcomes;
use crate::read::{Example, Target};

pub(crate) fn outcomes(asked: &Asked<'_>, examples: &[Example]) -> Result<Outcomes, TaskError> {
    let logits = asked.of_width(asked.logits(examples)?, 1)?;
    Ok(Outcomes::Scores {
        predicted: logits.iter().map(|row| f64::from(row[0])).collect(),
        actual: scores(examples),
    })
}

/// The scores that are right.
pub(super) fn scores(examples: &[Example]) -> Vec<f64> {
    let score = |example: &Example| match example.target {
        Target::Score(score) => score,
        Target::Label(_) | Target::Pair => f64::NAN,
    };
    examples.iter().map(score).collect()
}
