//! The second text of each pair among those of all.

use std::collections::HashMap;

use rayon::prelude::*;

use super::{Asked, dot};
use crate::TaskError;
use crate::metrics::{Outcomes, rank};
use crate::read::Example;

pub(crate) fn outcomes(asked: &Asked<'_>, examples: &[Example]) -> Result<Outcomes, TaskError> {
    // A text that belongs to several queries is one candidate.
    let mut candidates: Vec<&str> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut right = Vec::with_capacity(examples.len());
    for example in examples {
        let text = example.second.as_deref().unwrap_or_default();
        let place = *places.entry(text).or_insert_with(|| {
            candidates.push(text);
            candidates.len() - 1
        });
        right.push(place);
    }
    let queries: Vec<&str> = examples.iter().map(|example| example.first.as_str()).collect();
    let texts: Vec<&str> = queries.iter().chain(&candidates).copied().collect();
    let vectors = asked.embeddings(&texts)?;
    let (queries, candidates) = vectors.split_at(queries.len());
    let ranks = queries.par_iter().zip(&right).map(|(query, right)| {
        let scores: Vec<f32> = candidates.iter().map(|text| dot(query, text)).collect();
        rank(scores.iter().copied(), *right, scores[*right])
    });
    Ok(Outcomes::Ranks(ranks.collect()))
}
