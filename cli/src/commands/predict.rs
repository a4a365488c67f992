//! `atb predict`: latency, interval and breakdown of architectures.

use std::path::PathBuf;

use atb_predictor::Predictor;
use atb_space::Architecture;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::display;
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Architectures, `L-dm-df-h-dq`
    #[arg(required = true)]
    archs: Vec<Architecture>,
    /// Predictor file, as `atb fit` writes it
    #[arg(long, default_value = "predictor.json")]
    predictor: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Predictions, as `atb predict --format json` prints them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Predictions {
    /// Version of the schema: 1.
    schema: u32,
    /// What is predicted: `latency`, `memory` or `load-time`.
    quantity: String,
    /// The unit of every number.
    unit: String,
    /// A prediction for each architecture that was asked for.
    predictions: Vec<Prediction>,
}

/// The prediction of one architecture.
#[derive(Debug, Serialize, JsonSchema)]
struct Prediction {
    /// The architecture, `L-dm-df-h-dq`.
    architecture: String,
    /// What is predicted.
    value: f64,
    /// Lower end of the interval that 90 % of measurements lie in.
    low: f64,
    /// Its upper end.
    high: f64,
    /// Where the time goes; null where the predictor's kind does not tell.
    parts: Option<Parts>,
    /// Whether the predictor's space has it; else the prediction is an extrapolation.
    in_space: bool,
}

/// Parts of a prediction.
#[derive(Debug, Serialize, JsonSchema)]
struct Parts {
    /// Call, embeddings and pooler.
    embedding: f64,
    /// Projections, scores and softmax of all layers.
    attention: f64,
    /// Feed-forward blocks of all layers.
    feed_forward: f64,
    /// LayerNorm, residuals and fixed costs of all layers.
    normalisation: f64,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let predictor = Predictor::load(&arguments.predictor)?;
    display::warn_of_no_device(&predictor);
    let predictions = arguments.archs.iter().map(|arch| {
        let in_space = predictor.space.check(arch);
        if let Err(error) = &in_space {
            display::note(&format!("warning: {error}; its prediction is an extrapolation"));
        }
        let prediction = predictor.predict(arch);
        let parts = predictor.breakdown(arch).map(|parts| Parts {
            embedding: parts.embedding,
            attention: parts.attention,
            feed_forward: parts.feed_forward,
            normalisation: parts.normalisation,
        });
        Prediction {
            architecture: arch.id(),
            value: prediction.value,
            low: prediction.low,
            high: prediction.high,
            parts,
            in_space: in_space.is_ok(),
        }
    });
    arguments.output.print(&Predictions {
        schema: 1,
        quantity: predictor.quantity.to_string(),
        unit: predictor.unit().to_owned(),
        predictions: predictions.collect(),
    })
}

impl Document for Predictions {
    fn parts(&self) -> Vec<Part> {
        let row = |it: &Prediction| {
            let part = |of: fn(&Parts) -> f64| {
                it.parts.as_ref().map_or("-".to_owned(), |parts| format!("{:.3}", of(parts)))
            };
            vec![
                it.architecture.clone(),
                format!("{:.3}", it.value),
                format!("{:.3}", it.low),
                format!("{:.3}", it.high),
                part(|parts| parts.embedding),
                part(|parts| parts.attention),
                part(|parts| parts.feed_forward),
                part(|parts| parts.normalisation),
            ]
        };
        let header = [
            "architecture",
            &self.unit,
            "low 90 %",
            "high",
            "embed",
            "attention",
            "feed-forward",
            "norm",
        ];
        vec![Part::numbers(&header, self.predictions.iter().map(row).collect())]
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.predictions)
    }
}
