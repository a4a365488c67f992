//! How the losses of architectures stand to each other: which are told apart by the held-out text,
//! and what a search adds over rules of thumb.

use atb_search::{Candidates, EvaluationError, Fitness, Outcome, SearchError};
use atb_space::Architecture;
use atb_tasks::{Bootstrap, Interval};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::PipelineError;

/// Architectures drawn for a rule that names many.
const DRAWN: usize = 8;

/// By how much a loss is above another, on the same text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossDifference {
    /// The difference.
    pub value: f64,
    /// Where it lies if the parts of the text are drawn again, in 95 % of the draws; null for a
    /// loss that has no parts.
    pub interval: Option<Interval>,
}

impl LossDifference {
    /// Of losses on the same parts, `one` above `other`.
    #[must_use]
    pub fn of(one: &[f64], other: &[f64]) -> Self {
        let differences: Vec<f64> = one.iter().zip(other).map(|(one, other)| one - other).collect();
        let count = differences.len();
        let drawn =
            |rows: &[usize]| rows.iter().map(|row| differences[*row]).sum::<f64>() / count as f64;
        Self {
            value: differences.iter().sum::<f64>() / count as f64,
            interval: (count > 1).then(|| Bootstrap::default().interval(count, drawn)).flatten(),
        }
    }

    /// Whether the text tells the two apart.
    #[must_use]
    pub fn is_told(&self) -> bool {
        match self.interval {
            Some(interval) => interval.excludes_zero(),
            None => self.value != 0.0,
        }
    }
}

/// How a static table of word embeddings, which has no layer and takes no time, stands to a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaticTable {
    /// Its loss.
    pub loss: f64,
    /// That loss above the model's.
    pub above_winner: LossDifference,
}

impl StaticTable {
    /// Beside `winner`; `None` where the loss is of a kind that a table has not.
    ///
    /// # Errors
    /// [`PipelineError::Search`] if one of the two cannot be evaluated.
    pub fn beside(
        winner: &Architecture,
        fitness: &dyn Fitness,
    ) -> Result<Option<Self>, PipelineError> {
        let failed = |cause: EvaluationError| SearchError::Evaluation { arch: winner.id(), cause };
        let Some(table) = fitness.static_table().map_err(failed)? else { return Ok(None) };
        let loss = table.iter().sum::<f64>() / table.len() as f64;
        let above_winner = LossDifference::of(&table, &parts(fitness, winner)?);
        Ok(Some(Self { loss, above_winner }))
    }

    /// Whether the model is better, beyond what the text leaves open.
    #[must_use]
    pub fn is_beaten(&self) -> bool {
        self.above_winner.value > 0.0 && self.above_winner.is_told()
    }
}

/// What a rule of thumb chooses among the candidates of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Rival {
    /// The rule.
    pub rule: &'static str,
    /// What it chooses; several where it names many, of which these were drawn.
    pub architectures: Vec<Architecture>,
    /// Predicted latency, on average over them, in milliseconds.
    pub latency_ms: f64,
    /// Loss, on average over them.
    pub loss: f64,
    /// Their average loss above the winner's.
    pub above_winner: LossDifference,
}

/// What rules of thumb choose among `candidates`, beside the winner of `outcome`: the most encoder
/// parameters, the largest hidden size, the paper's rule for its fast search, and anything at all.
///
/// # Errors
/// [`PipelineError::Search`] if an architecture cannot be evaluated.
pub fn rivals(
    candidates: &Candidates<'_>,
    outcome: &Outcome,
    fitness: &dyn Fitness,
) -> Result<Vec<Rival>, PipelineError> {
    let Some(winner) = outcome.winner() else { return Ok(Vec::new()) };
    let winner = parts(fitness, &winner.arch)?;
    let largest = candidates.largest_by_depth();
    let most_parameters = largest.first().cloned();
    let widest = largest.into_iter().rev().max_by_key(Architecture::hidden);
    let drawn = |candidates: &Candidates<'_>| {
        let mut rng = ChaCha8Rng::seed_from_u64(outcome.seed);
        let mut drawn: Vec<Architecture> = Vec::new();
        while drawn.len() < DRAWN
            && let Some(arch) = candidates.sample(&mut rng, |arch| drawn.contains(arch))
        {
            drawn.push(arch);
        }
        drawn
    };
    let rules: [(&'static str, Vec<Architecture>); 4] = [
        ("most parameters", most_parameters.into_iter().collect()),
        // Of equal hidden sizes the one with the most parameters.
        ("largest hidden size", widest.into_iter().collect()),
        ("fast rule", candidates.fast().map_or_else(|_| Vec::new(), |fast| drawn(&fast))),
        ("random", drawn(candidates)),
    ];
    let mut rivals = Vec::new();
    for (rule, architectures) in rules {
        let all: Vec<Vec<f64>> = architectures
            .iter()
            .map(|arch| parts(fitness, arch))
            .collect::<Result<_, PipelineError>>()?;
        let Some(first) = all.first() else { continue };
        let count = all.len() as f64;
        let average: Vec<f64> = (0..first.len())
            .map(|part| all.iter().map(|losses| losses[part]).sum::<f64>() / count)
            .collect();
        let latencies = architectures.iter().map(|arch| candidates.latency_ms(arch));
        rivals.push(Rival {
            rule,
            latency_ms: latencies.sum::<f64>() / count,
            loss: average.iter().sum::<f64>() / average.len() as f64,
            above_winner: LossDifference::of(&average, &winner),
            architectures,
        });
    }
    Ok(rivals)
}

/// The losses of an architecture on the parts of the text.
pub(super) fn parts(fitness: &dyn Fitness, arch: &Architecture) -> Result<Vec<f64>, PipelineError> {
    let failed = |cause: EvaluationError| SearchError::Evaluation { arch: arch.id(), cause };
    Ok(fitness.parts(arch).map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_on_every_part_is_told_apart_and_what_varies_is_not() {
        let winner = [0.1, 0.3, 0.2, 0.4, 0.25, 0.15];
        let above = winner.map(|loss| loss + 0.01);
        let difference = LossDifference::of(&above, &winner);
        assert!((difference.value - 0.01).abs() < 1e-12 && difference.is_told(), "{difference:?}");
        let mut varied = winner;
        for (part, loss) in varied.iter_mut().enumerate() {
            *loss += if part % 2 == 0 { 0.03 } else { -0.028 };
        }
        let difference = LossDifference::of(&varied, &winner);
        assert!(difference.value > 0.0 && !difference.is_told(), "{difference:?}");
        let same = LossDifference::of(&winner, &winner);
        assert_eq!(same.value, 0.0);
        assert!(!same.is_told());
    }

    #[test]
    fn a_single_part_has_no_interval_and_is_taken_as_it_is() {
        let difference = LossDifference::of(&[0.3], &[0.2]);
        assert_eq!(difference.interval, None);
        assert!(difference.is_told());
    }
}
