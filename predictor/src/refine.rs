//! Measuring in rounds: each where the predictor is least sure, or where a search looks,
//! until its error is small enough.

use atb_settings::{Check, Checked, OutOfRange};
use atb_space::{Architecture, Space, Workload};
use serde::Deserialize;

use crate::design::{choose, choose_next};
use crate::error::FitError;
use crate::evaluation::EvaluationError;
use crate::fit::FitSettings;
use crate::metrics::Metrics;
use crate::observation::Observations;
use crate::predictor::Predictor;

/// How many to measure, and when it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefineSettings {
    /// Architectures of the first round, a design over the whole space.
    pub initial_samples: usize,
    /// Architectures of every further round.
    pub samples_per_round: usize,
    /// Most architectures in all.
    pub max_samples: usize,
    /// Mean absolute relative error to reach, a fraction: of the cross-validation over
    /// everything measured, and of a round's new architectures as predicted before they were
    /// measured.
    pub target_mape: f64,
    /// Predicted values that the rounds look at; all if absent.
    pub focus: Option<(f64, f64)>,
    /// Seed of every choice.
    pub seed: u64,
}

impl Default for RefineSettings {
    fn default() -> Self {
        Self {
            initial_samples: 18,
            samples_per_round: 6,
            max_samples: 60,
            target_mape: 0.02,
            focus: None,
            seed: 0,
        }
    }
}

impl Checked for RefineSettings {
    fn check(&self, at: &mut Check) {
        at.range("initial_samples", self.initial_samples, 1..=100_000);
        at.range("samples_per_round", self.samples_per_round, 1..=100_000);
        at.range("max_samples", self.max_samples, 1..=100_000);
        at.range("target_mape", self.target_mape, 0.0..=1.0);
        if let Some((low, high)) = self.focus {
            at.range("focus", low, 0.0..);
            at.range("focus", high, low..);
        }
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
#[expect(missing_docs, reason = "the messages say it")]
pub enum RefineError<E> {
    #[error(transparent)]
    Settings(#[from] OutOfRange),
    #[error("{0}")]
    Measure(E),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
}

/// Measures and fits in rounds. `measure` is called with all architectures chosen so far,
/// in the order to measure them, and gives the observations of all of them; those of
/// earlier rounds need not be measured again. `report` hears of every round.
///
/// The same settings and measurements give the same choices, so that an interrupted
/// refinement resumes where it was.
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
    settings.checked()?;
    let mut archs = choose(space, workload, settings.initial_samples, settings.seed, &[]);
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
        let reached = cross_validated.mape <= settings.target_mape
            && fresh.is_some_and(|fresh| fresh.mape <= settings.target_mape);
        let room = settings.max_samples.saturating_sub(archs.len()).min(settings.samples_per_round);
        let next = match reached {
            true => Vec::new(),
            false => {
                let seed = settings.seed.wrapping_add(rounds.len() as u64);
                choose_next(&predictor, room, seed, &archs, settings.focus)
            }
        };
        if next.is_empty() {
            return Ok(Refined { predictor, rounds, reached });
        }
        archs.extend(next);
        previous = Some(predictor);
    }
}
