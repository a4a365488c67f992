//! How a training goes: its length, its learning rate, its batches.

use std::time::Duration;

use atb_space::Architecture;
use serde::{Deserialize, Serialize};

use super::{SubModels, TrainDevice, TrainError};

/// Length and learning rate of a training: a linear rise from zero, then a linear fall to
/// zero at the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Number of optimizer steps.
    pub steps: u64,
    /// Steps of the rise.
    pub warmup_steps: u64,
    /// Learning rate at its peak.
    pub learning_rate: f64,
}

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
    /// Sequences a batch.
    pub rows: usize,
    /// Batches whose gradients are averaged for one optimizer step.
    pub accumulation: usize,
    /// AdamW's weight decay; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Largest norm of the gradient; a larger one is scaled down to it.
    pub clip_norm: f64,
    /// What all randomness depends on.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between validations of the panel; there is one at the start and one at the end.
    pub validate_every: u64,
    /// The architectures that are validated.
    pub panel: Vec<Architecture>,
    /// Time after which training stops at a checkpoint, to be continued or not.
    pub time_budget: Option<Duration>,
    /// Where the steps are computed. No part of what a training is: a checkpoint is continued
    /// on any device.
    #[serde(skip)]
    pub device: TrainDevice,
}

impl TrainSettings {
    /// The usual settings: 16 sequences a batch, peak learning rate 1e-4 after a tenth of
    /// the steps, weight decay 0.01, clipping at 1.0, twenty checkpoints and validations.
    #[must_use]
    pub fn new(sub_models: SubModels, panel: Vec<Architecture>, steps: u64, seed: u64) -> Self {
        Self {
            sub_models,
            schedule: Schedule { steps, warmup_steps: steps / 10, learning_rate: 1e-4 },
            rows: 16,
            accumulation: 1,
            weight_decay: 0.01,
            clip_norm: 1.0,
            seed,
            checkpoint_every: (steps / 20).max(1),
            validate_every: (steps / 20).max(1),
            panel,
            time_budget: None,
            device: TrainDevice::Cpu,
        }
    }

    pub(super) fn check(&self) -> Result<(), TrainError> {
        let positive = [
            ("schedule.steps", self.schedule.steps as f64),
            ("schedule.learning_rate", self.schedule.learning_rate),
            ("rows", self.rows as f64),
            ("accumulation", self.accumulation as f64),
            ("clip_norm", self.clip_norm),
            ("checkpoint_every", self.checkpoint_every as f64),
            ("validate_every", self.validate_every as f64),
        ];
        let wrong = |key: &'static str, problem: String| TrainError::Setting { key, problem };
        for (key, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(wrong(key, format!("is {value}, expected a number above 0")));
            }
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            let problem = format!("is {}, expected 0 or more", self.weight_decay);
            return Err(wrong("weight_decay", problem));
        }
        if self.schedule.warmup_steps > self.schedule.steps {
            let Schedule { steps, warmup_steps, .. } = self.schedule;
            let problem = format!("is {warmup_steps}, more than the {steps} steps");
            return Err(wrong("schedule.warmup_steps", problem));
        }
        if self.panel.is_empty() {
            let problem = "is empty, expected at least one architecture".to_owned();
            return Err(wrong("panel", problem));
        }
        self.device.check()
    }

    /// The settings that a checkpoint may be continued with otherwise: what is watched and
    /// kept, not what is computed.
    pub(super) fn without_watching(&self) -> Self {
        Self {
            checkpoint_every: 0,
            validate_every: 0,
            panel: Vec::new(),
            time_budget: None,
            ..self.clone()
        }
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
