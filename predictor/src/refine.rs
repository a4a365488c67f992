//! Measuring in rounds: each where the predictor is least sure, or where a search looks,
//! until its error is small enough.

use atb_space::{Architecture, Space, Workload};

use crate::design::{choose, choose_next};
use crate::evaluation::EvaluationError;
use crate::fit::{FitError, FitSettings};
use crate::{Metrics, Observations, Predictor};

/// How many to measure, and when it is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefineSettings {
    /// Architectures of the first round, a design over the whole space.
    pub first: usize,
    /// Architectures of every further round.
    pub round: usize,
    /// Most architectures in all.
    pub most: usize,
    /// Mean relative error to reach: of the cross-validation over everything measured, and
    /// of a round's new architectures as predicted before they were measured.
    pub error: f64,
    /// Latencies, in milliseconds, that the rounds look at; all if absent.
    pub focus_ms: Option<(f64, f64)>,
    /// Seed of every choice.
    pub seed: u64,
}

impl Default for RefineSettings {
    fn default() -> Self {
        Self { first: 18, round: 6, most: 60, error: 0.02, focus_ms: None, seed: 0 }
    }
}

/// What the predictor was worth after one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Architectures measured until then.
    pub measured: usize,
    /// Cross-validated errors over all of them.
    pub cross_validated: Metrics,
    /// Errors on the round's architectures as predicted before they were measured; absent
    /// for the first round, which nothing could predict.
    pub fresh: Option<Metrics>,
}

/// What came of the rounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Refined {
    /// The predictor fitted on everything measured.
    pub predictor: Predictor,
    /// The rounds, in order.
    pub rounds: Vec<Round>,
    /// Whether the error asked for was reached.
    pub reached: bool,
}

/// Why the rounds ended early.
#[derive(Debug, thiserror::Error)]
pub enum RefineError<E> {
    /// measuring failed
    #[error("{0}")]
    Measure(E),
    /// nothing could be fitted
    #[error(transparent)]
    Fit(#[from] FitError),
    /// measurements of something else than was asked for
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
}

/// Measures and fits in rounds. `measure` is called with all architectures chosen so far,
/// in the order to measure them, and gives the observations of all of them; those of
/// earlier rounds need not be measured again. `report` hears of every round.
///
/// The same settings and measurements give the same choices, so that an interrupted
/// refinement goes on where it was.
///
/// # Errors
/// [`RefineError`]; what was measured until then is the caller's.
pub fn refine<E>(
    space: &Space,
    workload: Workload,
    settings: &RefineSettings,
    mut measure: impl FnMut(&[Architecture]) -> Result<Observations, E>,
    mut report: impl FnMut(&Round),
) -> Result<Refined, RefineError<E>> {
    let mut archs = choose(space, workload, settings.first, settings.seed, &[]);
    let mut rounds = Vec::new();
    let mut previous: Option<Predictor> = None;
    loop {
        let measured = measure(&archs).map_err(RefineError::Measure)?;
        let fresh = match &previous {
            Some(predictor) => {
                let known = predictor.validation.metrics.count;
                let mut new = measured.clone();
                new.items.retain(|item| archs[known..].contains(&item.arch));
                new.checks.clear();
                Some(predictor.evaluate(&new)?.metrics)
            }
            None => None,
        };
        let fit = FitSettings { seed: settings.seed, ..FitSettings::default() };
        let predictor = Predictor::fit(&measured, space, &fit)?;
        let cross_validated = predictor.validation.metrics;
        let round = Round { measured: measured.items.len(), cross_validated, fresh };
        report(&round);
        rounds.push(round);
        let reached = cross_validated.mape <= settings.error
            && fresh.is_some_and(|fresh| fresh.mape <= settings.error);
        let room = settings.most.saturating_sub(archs.len()).min(settings.round);
        let next = match reached {
            true => Vec::new(),
            false => {
                let seed = settings.seed.wrapping_add(rounds.len() as u64);
                choose_next(&predictor, room, seed, &archs, settings.focus_ms)
            }
        };
        if next.is_empty() {
            return Ok(Refined { predictor, rounds, reached });
        }
        archs.extend(next);
        previous = Some(predictor);
    }
}
