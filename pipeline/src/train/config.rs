//! The configuration of a training, a TOML file. `examples/train.toml` documents every key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use atb_space::{Architecture, Space};
use atb_superplm::{Schedule, TrainDevice};
use serde::{Deserialize, Deserializer};

use crate::config::read_toml;
use crate::{FitnessConfig, PipelineError, SpaceChoice};

/// What a training is to do; every key has a default but the text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Text files to train on, one paragraph a line, a blank line between documents.
    pub text: Vec<PathBuf>,
    /// Folder of everything that the training makes.
    pub output: PathBuf,
    /// What it starts from: `teacher`, `random`, or a model folder.
    pub start: String,
    /// Size of the SuperPLM; that of its start if absent.
    pub size: Option<Architecture>,
    /// The only architecture to train, cut out of its start; all of the space if absent.
    pub arch: Option<Architecture>,
    /// What is minimised.
    pub objective: ObjectiveChoice,
    /// The teacher of distillation: a model folder, or `auto` for all-MiniLM-L6-v2.
    pub teacher: String,
    /// Where the steps are computed.
    pub device: TrainDevice,
    /// Tokens a sequence.
    pub sequence: usize,
    /// Sequences a batch.
    pub rows: usize,
    /// Batches whose gradients are averaged for one step.
    pub accumulation: usize,
    /// Length and learning rate.
    pub schedule: Schedule,
    /// AdamW's weight decay; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Largest norm of the gradient; a larger one is scaled down to it.
    pub clip_norm: f64,
    /// What all randomness depends on.
    pub seed: u64,
    /// Time after which this run stops at a checkpoint, as `90m` or `1h 30m`.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub time_budget: Option<Duration>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Architectures that are validated; a spread over the space if empty.
    pub panel: Vec<Architecture>,
    /// Which sub-models a step trains.
    pub one_shot: OneShotConfig,
    /// The text of the validations.
    pub held_out: HeldOutConfig,
}

/// The text of the validations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeldOutConfig {
    /// The file, one paragraph a line; a built-in text if absent.
    pub text: Option<PathBuf>,
    /// Tokens a paragraph is cut to.
    pub sequence: usize,
    /// Most paragraphs.
    pub paragraphs: usize,
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        let FitnessConfig { text, sequence, paragraphs, .. } = FitnessConfig::default();
        Self { text, sequence, paragraphs }
    }
}

impl HeldOutConfig {
    /// The same text for a fitness.
    pub(super) fn for_fitness(&self) -> FitnessConfig {
        let Self { text, sequence, paragraphs } = self.clone();
        FitnessConfig { text, sequence, paragraphs, ..FitnessConfig::default() }
    }
}

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveChoice {
    /// Distillation: hidden states and attention scores of the last layer are to be the
    /// teacher's.
    Kd,
    /// Masked language modelling.
    Mlm,
}

/// Which sub-models a step of one-shot training trains.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OneShotConfig {
    /// The space they are drawn from; what the SuperPLM contains of it.
    pub space: SpaceChoice,
    /// How many a step.
    pub per_step: usize,
    /// Whether the largest and the smallest are always among them.
    pub sandwich: bool,
    /// Probability with which each width of a drawn one is the largest instead.
    pub at_largest: f64,
}

impl Default for OneShotConfig {
    fn default() -> Self {
        Self { space: SpaceChoice(Space::paper_kd()), per_step: 3, sandwich: true, at_largest: 0.0 }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            output: PathBuf::from("atb-train"),
            start: "teacher".to_owned(),
            size: None,
            arch: None,
            objective: ObjectiveChoice::Kd,
            teacher: "auto".to_owned(),
            device: TrainDevice::Cpu,
            sequence: 128,
            rows: 8,
            accumulation: 1,
            schedule: Schedule { steps: 20_000, warmup_steps: 500, learning_rate: 3e-4 },
            weight_decay: 0.01,
            clip_norm: 1.0,
            seed: 0,
            time_budget: None,
            checkpoint_every: 200,
            validate_every: 500,
            panel: Vec::new(),
            one_shot: OneShotConfig::default(),
            held_out: HeldOutConfig::default(),
        }
    }
}

impl TrainConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`PipelineError::Config`] naming the line of an unknown key or a wrong type.
    pub fn read(path: &Path) -> Result<Self, PipelineError> {
        read_toml(path)
    }
}

/// A duration as people write it.
///
/// # Errors
/// What is wrong with it and what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}: expected a time as 90m, 2h or 1h 30m"))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TrainConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn the_example_is_the_default_written_out() {
        let written = parse(include_str!("../../../examples/train.toml")).expect("parses");
        assert_eq!(written.text, [PathBuf::from("corpus.txt")]);
        assert_eq!(TrainConfig { text: Vec::new(), ..written }, TrainConfig::default());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = |text: &str| parse(text).expect_err("invalid").to_string();
        let unknown = error("text = []\nstep = 3\n");
        assert!(unknown.contains("line 2") && unknown.contains("`step`"), "{unknown}");
        let time = error("for = \"soon\"\n");
        assert!(time.contains("line 1") && time.contains("90m"), "{time}");
        let objective = error("objective = \"nsp\"\n");
        assert!(objective.contains("`kd` or `mlm`"), "{objective}");
        let device = error("device = \"gpu\"\n");
        assert!(device.contains("`cpu` or `cuda`"), "{device}");
        let minutes = parse("for = \"1h 30m\"").expect("parses").time_budget;
        assert_eq!(minutes, Some(Duration::from_secs(5400)));
    }
}
