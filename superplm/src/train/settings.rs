//! How a training goes, each setting with its range: its length, its learning rate, its
//! batches.

use std::time::Duration;

use atb_settings::{Check, Checked, above_0_to};
use atb_space::Architecture;
use serde::{Deserialize, Serialize};

use super::{Accelerator, SubModels, TrainError};

/// Length and learning rate of a training: a linear rise from zero, then a linear fall to
/// zero at the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Number of optimizer steps.
    pub steps: u64,
    /// Steps of the rise.
    pub warmup_steps: u64,
    /// Learning rate at its peak.
    pub learning_rate: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { steps: 20_000, warmup_steps: 500, learning_rate: 3e-4 }
    }
}

impl Checked for Schedule {
    fn check(&self, at: &mut Check) {
        at.range("steps", self.steps, 1..=MOST_STEPS);
        at.range("warmup_steps", self.warmup_steps, 0..=MOST_STEPS);
        at.range("learning_rate", self.learning_rate, above_0_to(1e6));
    }
}

/// Optimizer steps beyond which a number is a slip.
const MOST_STEPS: u64 = 1_000_000_000;
/// Sequences of a batch, and batches of a step, beyond which a number is a slip.
const MOST_SEQUENCES: usize = 65_536;

impl Schedule {
    /// The learning rate of a step, counted from 0.
    #[must_use]
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let share = if step < self.warmup_steps {
            (step + 1) as f64 / self.warmup_steps as f64
        } else {
            let falling = (self.steps - self.warmup_steps.min(self.steps)).max(1);
            self.steps.saturating_sub(step) as f64 / falling as f64
        };
        self.learning_rate * share.min(1.0)
    }
}

/// Everything about a training that is not its model, objective or text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// What is trained in each step.
    pub sub_models: SubModels,
    /// Length and learning rate.
    pub schedule: Schedule,
    /// Sequences per batch.
    pub batch_size: usize,
    /// Batches whose gradients are averaged for one optimizer step.
    pub gradient_accumulation_steps: usize,
    /// AdamW's weight decay; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Maximum norm of the gradient; a larger one is scaled down to it.
    pub max_grad_norm: f64,
    /// What all randomness depends on.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between validations of the panel; there is one at the start and one at the end.
    pub validate_every: u64,
    /// The architectures that are validated.
    pub panel: Vec<Architecture>,
    /// Time after which training stops at a checkpoint, to be continued or not.
    pub time_limit: Option<Duration>,
    /// Where the steps are computed. No part of what a training is: a checkpoint is continued
    /// on any accelerator.
    #[serde(skip)]
    pub accelerator: Accelerator,
}

impl TrainSettings {
    /// The usual settings: batches of 16, peak learning rate 1e-4 after a tenth of
    /// the steps, weight decay 0.01, clipping at 1.0, twenty checkpoints and validations.
    #[must_use]
    pub fn new(sub_models: SubModels, panel: Vec<Architecture>, steps: u64, seed: u64) -> Self {
        Self {
            sub_models,
            schedule: Schedule { steps, warmup_steps: steps / 10, learning_rate: 1e-4 },
            batch_size: 16,
            gradient_accumulation_steps: 1,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            seed,
            checkpoint_every: (steps / 20).max(1),
            validate_every: (steps / 20).max(1),
            panel,
            time_limit: None,
            accelerator: Accelerator::Cpu,
        }
    }

    /// What no single value's range says.
    pub(super) fn check_together(&self) -> Result<(), TrainError> {
        self.checked()?;
        let Schedule { steps, warmup_steps, .. } = self.schedule;
        if warmup_steps > steps {
            return Err(TrainError::Warmup { warmup_steps, steps });
        }
        if self.panel.is_empty() {
            return Err(TrainError::EmptyPanel);
        }
        self.accelerator.check()
    }

    /// The settings that a checkpoint may be continued with otherwise: what is watched and
    /// kept, not what is computed.
    pub(super) fn without_watching(&self) -> Self {
        Self {
            checkpoint_every: 0,
            validate_every: 0,
            panel: Vec::new(),
            time_limit: None,
            ..self.clone()
        }
    }
}

impl Checked for TrainSettings {
    fn check(&self, at: &mut Check) {
        at.nested("schedule", &self.schedule);
        at.range("batch_size", self.batch_size, 1..=MOST_SEQUENCES);
        let accumulated = self.gradient_accumulation_steps;
        at.range("gradient_accumulation_steps", accumulated, 1..=MOST_SEQUENCES);
        at.range("weight_decay", self.weight_decay, 0.0..=1e3);
        at.range("max_grad_norm", self.max_grad_norm, above_0_to(1e12));
        at.range("checkpoint_every", self.checkpoint_every, 1..);
        at.range("validate_every", self.validate_every, 1..);
        at.nested("one_shot", &self.sub_models);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls_linearly() {
        let schedule = Schedule { steps: 10, warmup_steps: 2, learning_rate: 0.8 };
        let rates: Vec<f64> = (0..=10).map(|step| schedule.learning_rate_at(step)).collect();
        let expected = [0.4, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0];
        for (rate, expected) in rates.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
        let constant = Schedule { steps: 4, warmup_steps: 4, learning_rate: 1.0 };
        assert_eq!(constant.learning_rate_at(3), 1.0);
    }
}
