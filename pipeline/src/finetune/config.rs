//! The configuration of a fine-tuning, a TOML file. `examples/finetune.toml` documents every key.

use std::path::PathBuf;

use atb_settings::{Check, Checked, Layers, SettingsError};
use atb_space::Architecture;
use atb_superplm::FinetuneSettings;
use atb_tasks::EvaluateSettings;
use serde::Deserialize;

/// What a fine-tuning is to do; every key has a default but the task and the model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// The task: a built-in name, or the TOML file of one's own.
    pub task: String,
    /// The model to start from: a model folder, `auto` for the built-in SuperPLM, or `teacher`.
    pub model: String,
    /// The architecture to cut out of it first; all of it if absent.
    pub arch: Option<Architecture>,
    /// Folder of the task's files, or the one above it.
    pub data: Option<PathBuf>,
    /// File to train on, in place of the split's.
    pub train_file: Option<PathBuf>,
    /// The model folder to write.
    pub output: PathBuf,
    /// A model that was fine-tuned on the task, to be distilled from.
    pub teacher: Option<String>,
    /// Most examples to train on, drawn evenly; all if absent.
    pub max_train_samples: Option<usize>,
    /// Examples of the training split that the best epoch is chosen by; at most a fifth.
    pub held_out: usize,
    /// What all randomness depends on; with several the model is trained with each, and the best
    /// is kept.
    pub seeds: Vec<u64>,
    /// How the training goes.
    pub training: FinetuneSettings,
    /// How texts are cut, and how the scores are taken.
    pub evaluation: EvaluateSettings,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            task: String::new(),
            model: String::new(),
            arch: None,
            data: None,
            train_file: None,
            output: PathBuf::from("atb-finetune"),
            teacher: None,
            max_train_samples: None,
            held_out: 1000,
            seeds: vec![0],
            training: FinetuneSettings::default(),
            evaluation: EvaluateSettings::default(),
        }
    }
}

impl FinetuneConfig {
    /// Reads the layers of a configuration: a file, flags.
    ///
    /// # Errors
    /// [`SettingsError`] naming the line or the flag of an unknown key, a wrong type, or a
    /// value outside of its range.
    pub fn read(layers: &Layers) -> Result<Self, SettingsError> {
        layers.read()
    }
}

impl Checked for FinetuneConfig {
    fn check(&self, at: &mut Check) {
        const MOST: usize = 1_000_000_000;
        at.optional("max_train_samples", self.max_train_samples, 1..=MOST);
        at.range("held_out", self.held_out, 1..=MOST);
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        let fine = seeds.len() == self.seeds.len() && (1..=100).contains(&seeds.len());
        at.that("seeds", format!("{:?}", self.seeds), fine, "1 to 100 different seeds");
        at.nested("training", &self.training);
        at.nested("evaluation", &self.evaluation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FinetuneConfig, SettingsError> {
        FinetuneConfig::read(&Layers::new().text("finetune.toml", text)?)
    }

    #[test]
    fn the_example_is_the_default_written_out() {
        let written = parse(include_str!("../../../examples/finetune.toml")).expect("parses");
        assert_eq!((&*written.task, &*written.model), ("SST-2", "winner"));
        let default = FinetuneConfig::default();
        let FinetuneConfig { task, model, .. } = default.clone();
        assert_eq!(FinetuneConfig { task, model, ..written }, default);
    }

    #[test]
    fn values_outside_of_their_range_are_told_with_their_line() {
        let error = |text: &str| parse(text).expect_err(text).to_string();
        assert_eq!(
            error("seeds = [1, 1]"),
            "finetune.toml: line 1: `seeds` is [1, 1], expected 1 to 100 different seeds"
        );
        assert_eq!(
            error("[training]\ndropout = 1.5"),
            "finetune.toml: line 2: `training.dropout` is 1.5, expected 0 to 0.9"
        );
        assert_eq!(
            error("[training.distillation]\ntemperature = 0"),
            "finetune.toml: line 2: `training.distillation.temperature` is 0, expected 0.1 to 100"
        );
        let unknown = error("[training]\nlearning_rates = 1e-4");
        assert!(unknown.contains("line 2") && unknown.contains("learning_rates"), "{unknown}");
    }
}
