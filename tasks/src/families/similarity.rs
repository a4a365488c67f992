//! How alike two texts are: the cosine of their embeddings.

use super::{Asked, dot, regression};
use crate::TaskError;
use crate::metrics::Outcomes;
use crate::read::Example;

pub(crate) fn outcomes(asked: &Asked<'_>, examples: &[Example]) -> Result<Outcomes, TaskError> {
    let first = examples.iter().map(|example| example.first.as_str());
    let second = examples.iter().map(|example| example.second.as_deref().unwrap_or_default());
    let texts: Vec<&str> = first.chain(second).collect();
    let vectors = asked.embeddings(&texts)?;
    let (first, second) = vectors.split_at(examples.len());
    let cosines = first.iter().zip(second).map(|(one, other)| f64::from(dot(one, other)));
    Ok(Outcomes::Scores { predicted: cosines.collect(), actual: regression::scores(examples) })
}
