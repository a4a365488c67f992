//! A random sample of the candidates: the baseline of every other strategy.

use rand_chacha::ChaCha8Rng;

use super::{Defaults, Settings, Strategy};
use crate::SearchError;
use crate::evaluate::Evaluator;

impl Strategy {
    /// A random sample of the candidates.
    pub const RANDOM: Self = Self {
        name: "random",
        about: "A random sample of the candidates",
        settings: &["population", "generations"],
        is_multi_objective: false,
        former_names: &[],
        defaults: Defaults::PAPER,
        narrow: None,
        search: sample,
    };
}

/// Evaluates a sample of the candidates, uniform and without repetition.
pub(super) fn sample(
    evaluator: &mut Evaluator<'_>,
    settings: &Settings,
    rng: &mut ChaCha8Rng,
) -> Result<(), SearchError> {
    let sample = evaluator.draw(settings.evaluations(), rng);
    evaluator.evaluate(0, &sample)
}
