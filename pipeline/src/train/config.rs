//! The configuration of a training, a TOML file. `examples/train.toml` documents every key.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use atb_settings::{Check, Checked, Layers, Renamed, SettingsError, Source};
use atb_space::{Architecture, Space};
use atb_superplm::{Accelerator, Layout, ObjectiveKind, Schedule, SubModels, TrainSettings};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::config::SEQUENCE_LENGTHS;
use crate::{HeldOutConfig, SpaceChoice};

/// What a training is to do; every key has a default but the text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Text files to train on, one paragraph a line, a blank line between documents.
    pub text: Vec<PathBuf>,
    /// Folder of everything that the training makes.
    pub output: PathBuf,
    /// What it starts from: `teacher`, `random`, `auto` for the built-in SuperPLM, or a model folder.
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
    pub accelerator: Accelerator,
    /// What a sequence holds.
    pub layout: Layout,
    /// Tokens per sequence.
    pub sequence_length: usize,
    /// Sequences per batch.
    pub batch_size: usize,
    /// Batches whose gradients are averaged for one step.
    pub gradient_accumulation_steps: usize,
    /// Length and learning rate.
    pub schedule: Schedule,
    /// AdamW's weight decay; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Maximum norm of the gradient; a larger one is scaled down to it.
    pub max_grad_norm: f64,
    /// What all randomness depends on.
    pub seed: u64,
    /// Time after which this run stops at a checkpoint, as `90m` or `1h 30m`.
    #[serde(deserialize_with = "duration")]
    pub time_limit: Option<Duration>,
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

/// What is minimised: the name of an objective, or a table with its `name` and its options.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveChoice {
    /// The objective.
    pub kind: &'static ObjectiveKind,
    /// Its options.
    pub options: Value,
}

impl Default for ObjectiveChoice {
    fn default() -> Self {
        Self { kind: &ObjectiveKind::all()[0], options: Value::Null }
    }
}

impl FromStr for ObjectiveChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match ObjectiveKind::find(name) {
            Some(kind) => Ok(Self { kind, options: Value::Null }),
            None => {
                let names: Vec<String> =
                    ObjectiveKind::all().iter().map(|kind| format!("`{}`", kind.name)).collect();
                Err(format!("`{name}` is not an objective, expected {}", names.join(", ")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for ObjectiveChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, options) = match Value::deserialize(deserializer)? {
            Value::String(name) => (name, Value::Null),
            Value::Object(mut options) => match options.remove("name") {
                Some(Value::String(name)) => (name, Value::Object(options)),
                _ => return Err(D::Error::custom("expected a `name` of an objective")),
            },
            _ => return Err(D::Error::custom("expected the name of an objective, or a table")),
        };
        let choice: Self = name.parse().map_err(D::Error::custom)?;
        Ok(Self { options, ..choice })
    }
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
    pub max_width_probability: f64,
}

impl Default for OneShotConfig {
    fn default() -> Self {
        Self {
            space: SpaceChoice(Space::paper_kd()),
            per_step: 3,
            sandwich: true,
            max_width_probability: 0.0,
        }
    }
}

impl OneShotConfig {
    fn sub_models(&self) -> SubModels {
        let Self { space, per_step, sandwich, max_width_probability } = self.clone();
        SubModels::OneShot { space: space.0, per_step, sandwich, max_width_probability }
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
            objective: ObjectiveChoice::default(),
            teacher: "auto".to_owned(),
            accelerator: Accelerator::Cpu,
            layout: Layout::default(),
            sequence_length: 128,
            batch_size: 8,
            gradient_accumulation_steps: 1,
            schedule: Schedule::default(),
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            seed: 0,
            time_limit: None,
            checkpoint_every: 200,
            validate_every: 500,
            panel: Vec::new(),
            one_shot: OneShotConfig::default(),
            held_out: HeldOutConfig::default(),
        }
    }
}

impl TrainConfig {
    /// Former names of keys.
    pub const RENAMED: &[Renamed] = &[
        Renamed::Key { old: "sequence", new: "sequence_length" },
        Renamed::Key { old: "rows", new: "batch_size" },
        Renamed::Key { old: "accumulation", new: "gradient_accumulation_steps" },
        Renamed::Key { old: "clip_norm", new: "max_grad_norm" },
        Renamed::Key { old: "device", new: "accelerator" },
        Renamed::Key { old: "for", new: "time_limit" },
        Renamed::Key { old: "one_shot.at_largest", new: "one_shot.max_width_probability" },
        Renamed::Key { old: "held_out.sequence", new: "held_out.sequence_length" },
    ];

    /// Reads the layers of a configuration: a file, flags.
    ///
    /// Warm-up steps that were not asked for, or that a flag's number of steps is less than,
    /// are at most all steps.
    ///
    /// # Errors
    /// [`SettingsError`] naming the line or the flag of an unknown key, a wrong type, or a
    /// value outside of its range.
    pub fn read(layers: Layers) -> Result<Self, SettingsError> {
        let layers = layers.renamed(Self::RENAMED);
        let mut config: Self = layers.read()?;
        let steps = layers.source_of("schedule.steps");
        if layers.source_of("schedule.warmup_steps") == Source::Default
            || matches!(steps, Source::Flag(_))
        {
            let Schedule { steps, warmup_steps, .. } = &mut config.schedule;
            *warmup_steps = (*warmup_steps).min(*steps);
        }
        Ok(config)
    }

    /// The sub-models that a step trains.
    pub(super) fn sub_models(&self) -> SubModels {
        match &self.arch {
            Some(arch) => SubModels::Fixed(arch.clone()),
            None => self.one_shot.sub_models(),
        }
    }

    /// The settings of the training itself.
    pub(super) fn settings(&self, panel: Vec<Architecture>) -> TrainSettings {
        TrainSettings {
            sub_models: self.sub_models(),
            schedule: self.schedule,
            batch_size: self.batch_size,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            seed: self.seed,
            checkpoint_every: self.checkpoint_every,
            validate_every: self.validate_every,
            panel,
            time_limit: self.time_limit,
            accelerator: self.accelerator,
        }
    }
}

impl Checked for TrainConfig {
    fn check(&self, at: &mut Check) {
        at.range("sequence_length", self.sequence_length, SEQUENCE_LENGTHS);
        self.settings(self.panel.clone()).check(at);
        // Among the settings only where it counts.
        if self.arch.is_some() {
            at.nested("one_shot", &self.one_shot.sub_models());
        }
        at.nested("held_out", &self.held_out);
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
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TrainConfig, SettingsError> {
        TrainConfig::read(Layers::new().text("train.toml", text)?)
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
        let time = error("time_limit = \"soon\"\n");
        assert!(time.contains("line 1") && time.contains("90m"), "{time}");
        let objective = error("objective = \"nsp\"\n");
        assert!(objective.contains("`kd`, `mlm`"), "{objective}");
        let accelerator = error("accelerator = \"gpu\"\n");
        assert!(accelerator.contains("cpu") && accelerator.contains("cuda"), "{accelerator}");
        let minutes = parse("time_limit = \"1h 30m\"").expect("parses").time_limit;
        assert_eq!(minutes, Some(Duration::from_secs(5400)));
    }

    #[test]
    fn former_names_lead_to_the_present_ones() {
        for (text, expected) in [
            ("rows = 4", "train.toml: line 1: `rows` is now called `batch_size`"),
            ("clip_norm = 2.0", "train.toml: line 1: `clip_norm` is now called `max_grad_norm`"),
            (
                "[one_shot]\nat_largest = 0.3",
                "train.toml: line 2: `one_shot.at_largest` is now called \
                 `one_shot.max_width_probability`",
            ),
        ] {
            assert_eq!(parse(text).expect_err("refused").to_string(), expected);
        }
    }

    #[test]
    fn values_have_a_range_and_partial_tables_their_defaults() {
        for text in [
            "sequence_length = 0",
            "batch_size = 0",
            "batch_size = 100000000",
            "weight_decay = nan",
            "[schedule]\nsteps = 9223372036854775807",
            "[schedule]\nlearning_rate = 0.0",
            "[one_shot]\nper_step = 1",
            "arch = \"1-36-64-12-36\"\n[one_shot]\nmax_width_probability = 2.0",
            "[held_out]\nsequence_length = 0",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("expected"), "{text}: {error}");
        }
        let config = parse("[schedule]\nsteps = 100").expect("parses");
        let expected = Schedule { steps: 100, warmup_steps: 100, ..Schedule::default() };
        assert_eq!(config.schedule, expected);
        let config = parse("objective = { name = \"mlm\" }").expect("parses");
        assert_eq!(config.objective.kind.name, "mlm");
        let weighted = "objective = { name = \"sentence\", hidden_states = 0.1 }";
        let config = parse(weighted).expect("parses");
        assert_eq!(config.objective.kind.name, "sentence");
        assert_eq!(config.objective.options, serde_json::json!({ "hidden_states": 0.1 }));
    }
}
