//! How a fine-tuning goes, each setting with its range.

use atb_settings::{Check, Checked, above_0_to};
use serde::{Deserialize, Serialize};

use crate::train::{Accelerator, Schedule};

/// Everything about a fine-tuning that is not its model, task or data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneSettings {
    /// How often every example is seen.
    pub epochs: u64,
    /// Examples per step.
    pub batch_size: usize,
    /// Learning rate at its peak, from which it falls linearly to zero.
    pub learning_rate: f64,
    /// Share of the steps in which it rises.
    pub warmup_ratio: f64,
    /// AdamW's weight decay; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Maximum norm of the gradient; a larger one is scaled down to it.
    pub max_grad_norm: f64,
    /// Share of the values that dropout sets to zero: of the embeddings, of attention's
    /// probabilities, of what each block adds to its residual, and of what a classifier reads.
    pub dropout: f64,
    /// What the teacher counts, where there is one.
    pub distillation: DistillationSettings,
    /// Where the steps are computed. No part of what a fine-tuning is.
    #[serde(skip_serializing)]
    pub accelerator: Accelerator,
}

impl Default for FinetuneSettings {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch_size: 32,
            learning_rate: 2e-4,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            dropout: 0.1,
            distillation: DistillationSettings::default(),
            accelerator: Accelerator::Cpu,
        }
    }
}

impl Checked for FinetuneSettings {
    fn check(&self, at: &mut Check) {
        at.range("epochs", self.epochs, 1..=10_000);
        at.range("batch_size", self.batch_size, 1..=65_536);
        at.range("learning_rate", self.learning_rate, above_0_to(1.0));
        at.range("warmup_ratio", self.warmup_ratio, 0.0..=1.0);
        at.range("weight_decay", self.weight_decay, 0.0..=1e3);
        at.range("max_grad_norm", self.max_grad_norm, above_0_to(1e12));
        at.range("dropout", self.dropout, 0.0..=0.9);
        at.nested("distillation", &self.distillation);
    }
}

impl FinetuneSettings {
    /// The learning rate's course over so many steps.
    pub(super) fn schedule(&self, steps: u64) -> Schedule {
        let warmup_steps = (self.warmup_ratio * steps as f64).round() as u64;
        Schedule { steps, warmup_steps, learning_rate: self.learning_rate }
    }
}

/// What a teacher counts, and how its logits are softened (Hinton et al., "Distilling the
/// Knowledge in a Neural Network").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillationSettings {
    /// Share of the loss that is the distance from the teacher's logits; the rest is that from
    /// what is right.
    pub weight: f64,
    /// What both models' logits are divided by.
    pub temperature: f64,
}

impl Default for DistillationSettings {
    fn default() -> Self {
        Self { weight: 0.5, temperature: 2.0 }
    }
}

impl Checked for DistillationSettings {
    fn check(&self, at: &mut Check) {
        at.range("weight", self.weight, 0.0..=1.0);
        at.range("temperature", self.temperature, 0.1..=100.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges_and_warm_up_is_a_share() {
        let settings = FinetuneSettings::default();
        settings.checked().expect("within");
        assert_eq!(settings.schedule(200).warmup_steps, 20);
        let wrong = FinetuneSettings { dropout: 1.0, learning_rate: 0.0, ..settings };
        assert_eq!(
            wrong.checked().expect_err("outside").to_string(),
            "`learning_rate` is 0, expected above 0 to 1; `dropout` is 1, expected 0 to 0.9"
        );
    }
}
