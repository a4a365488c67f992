//! Every number of a report. `figures.json` is this struct; its schema is
//! `docs/schemas/files/figures.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the schema of `figures.json`.
pub const FIGURES_SCHEMA: u32 = 1;

/// The figures of a run. Architectures are in the notation `L-dm-df-h-dq`; times are in
/// milliseconds of the run's scale, which is that of the reference model's typical speed, unless a
/// key says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Version of the schema: 1.
    pub schema: u32,
    /// Version of atb that wrote it.
    pub version: String,
    /// The device's name.
    pub target: String,
    /// What the device is: processor, board, system, cores, engine and the like, each with its
    /// value.
    pub device: Vec<(String, String)>,
    /// Batch size.
    pub batch: usize,
    /// Sequence length in tokens.
    pub sequence: usize,
    /// The chosen model.
    pub winner: Winner,
    /// Whether the measurements can be trusted.
    pub trust: Trust,
    /// What lessens the results' worth.
    pub warnings: Vec<String>,
    /// Architectures whose latency was predicted.
    pub scanned: u64,
    /// Those of them whose predicted latency lies in the band.
    pub candidates: u64,
    /// Every architecture whose loss was computed, in that order.
    pub evaluated: Vec<Evaluated>,
    /// The best of them as measured, the winner first.
    pub finalists: Vec<Finalist>,
    /// Loss of a static table of word embeddings, which takes no time; null for losses that it
    /// has not.
    pub static_table_loss: Option<f64>,
    /// What the predictor said of each measured architecture when it was fitted without it.
    pub predictions: Vec<Predicted>,
    /// Mean absolute relative error of those.
    pub mape: f64,
    /// Share of those within 10 %.
    pub within_10: f64,
    /// Kendall's tau of those.
    pub tau: f64,
    /// Mean relative error of one measurement; null if nothing was measured twice.
    pub noise_floor: Option<f64>,
    /// Where the winner's milliseconds go, as the predictor has learnt it.
    pub parts: Vec<Part>,
    /// The runs of the exported model and of the baseline.
    pub runs: Vec<Runs>,
    /// The winner at several lengths of text, the shortest first.
    #[serde(default)]
    pub lengths: Vec<AtLength>,
    /// Trainings of the model or of what it was cut out of.
    #[serde(default)]
    pub trainings: Vec<Training>,
    /// Scores on tasks.
    #[serde(default)]
    pub scores: Vec<TaskScore>,
    /// Variants of the exported file.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// The device over the time of the run.
    pub moments: Vec<Moment>,
    /// Largest difference of the engines' outputs, and between which engines.
    pub parity: f32,
    /// The engines that were compared.
    pub parity_engines: String,
    /// What an app carries.
    pub bundle: Vec<Sized>,
}

/// The chosen model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Winner {
    /// Its architecture.
    pub architecture: String,
    /// Its loss on held-out text; lower is better.
    pub loss: f64,
    /// The latency aimed at.
    pub budget_ms: f64,
    /// The band around it, its lower and upper end.
    pub band_ms: (f64, f64),
    /// Its predicted latency.
    pub predicted_ms: f64,
    /// The interval that 90 % of measurements lie in.
    pub interval_ms: (f64, f64),
    /// Latency of the exported file.
    pub measured_ms: f64,
    /// Whether that lies in the band.
    pub in_band: bool,
    /// What the speed-up is against.
    pub baseline: String,
    /// Its latency.
    pub baseline_ms: f64,
    /// Times that the exported file is faster than the baseline.
    pub speedup: f64,
    /// Parameters of the whole model.
    pub parameters: u64,
    /// What its word embeddings and products are: `f32`, `f16` or `int8`.
    pub precision: String,
    /// Where its weights come from.
    pub weights: String,
}

/// Whether measurements can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trust {
    /// The verdict.
    pub trustworthy: bool,
    /// Why not.
    pub objections: Vec<String>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
    /// Architectures that were measured twice.
    pub repeated: usize,
    /// Mean relative difference of the two measurements; null if none was.
    pub difference: Option<f64>,
}

/// An architecture whose loss was computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluated {
    /// The architecture.
    pub architecture: String,
    /// Its predicted latency.
    pub predicted_ms: f64,
    /// Its loss.
    pub loss: f64,
    /// Whether no other beats it in both.
    pub on_front: bool,
}

/// One of the best, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finalist {
    /// The architecture.
    pub architecture: String,
    /// Its loss.
    pub loss: f64,
    /// That loss above the lowest of the finalists'.
    pub above_lowest: f64,
    /// Whether the held-out text tells it apart from the lowest.
    pub told_apart: bool,
    /// Its latency as predicted.
    pub predicted_ms: f64,
    /// The interval that 90 % of measurements lie in.
    pub interval_ms: (f64, f64),
    /// Its latency as measured.
    pub measured_ms: f64,
}

/// A prediction beside its measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Predicted {
    /// The architecture.
    pub architecture: String,
    /// As predicted without its measurement.
    pub predicted_ms: f64,
    /// As measured.
    pub measured_ms: f64,
}

impl Predicted {
    /// Signed relative error.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.predicted_ms / self.measured_ms - 1.0
    }
}

/// A part of a latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// What takes the time.
    pub name: String,
    /// How much.
    pub ms: f64,
}

/// The runs of one model, by the wall clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// `winner`, or the baseline's architecture.
    pub model: String,
    /// Each run.
    pub samples_ms: Vec<f64>,
    /// Their 50th, 90th and 99th percentile.
    pub percentiles_ms: (f64, f64, f64),
    /// Time to load it, if it was noted.
    pub load_ms: Option<f64>,
    /// Its first run after that, if it was noted.
    pub first_ms: Option<f64>,
    /// Memory that it took at its peak, in KiB, if known.
    pub memory_kib: Option<u64>,
}

/// The winner at one length of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AtLength {
    /// Tokens.
    pub tokens: usize,
    /// Its latency.
    pub latency_ms: f64,
    /// Each run by the wall clock.
    pub samples_ms: Vec<f64>,
}

/// A training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Training {
    /// Its folder.
    pub name: String,
    /// The loss of its steps, on average over the sub-models and over the steps up to each of these:
    /// the step, and the loss.
    pub steps: Vec<(u64, f64)>,
    /// What was seen on text or examples that it was not trained on.
    pub held_out: Vec<Curve>,
}

/// What became of a value over the steps of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Curve {
    /// The architecture whose loss it is, or the task's metric.
    pub name: String,
    /// Whether higher is better, as of a metric; of a loss lower is.
    pub higher_is_better: bool,
    /// Steps made before, and the value.
    pub points: Vec<(u64, f64)>,
}

/// A score on a task. Values are fractions and correlations, not per cent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskScore {
    /// The task.
    pub task: String,
    /// The split of its data.
    pub split: String,
    /// The model.
    pub model: String,
    /// The metric.
    pub metric: String,
    /// The score; null where it is not defined.
    pub value: Option<f64>,
    /// Where it lies if the examples are drawn again.
    pub interval: Option<(f64, f64)>,
}

/// A variant of the exported file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Bytes of the bundle in one file.
    pub bytes: u64,
    /// Its latency, on the scale of its own measurement.
    pub latency_ms: f64,
    /// How far what an app gets is from what the first variant gives, from 0 to 1.
    pub difference: f64,
    /// What it scores on a task.
    pub score: Option<f64>,
    /// Whether no other is as good in everything and better in something.
    pub worth_having: bool,
}

/// The device while one model was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// What was measured.
    pub subject: String,
    /// When that was done, in minutes of measuring.
    pub minutes: f64,
    /// The reference model's run time: 10th, 50th and 90th percentile.
    pub reference_ms: (f64, f64, f64),
    /// Highest frequency of a core, in MHz, if the device tells.
    pub frequency_mhz: Option<f64>,
    /// Highest temperature, in degrees Celsius, if the device tells.
    pub temperature_c: Option<f64>,
    /// What slowed the processor down, in the device's words.
    pub throttled_by: Vec<String>,
    /// What a reader must know of the measurement.
    pub flags: Vec<String>,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sized {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}
