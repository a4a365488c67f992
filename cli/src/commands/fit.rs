//! `atb fit`: fit a predictor to measurements.

use std::path::{Path, PathBuf};

use atb_measurements::Quantity;
use atb_pipeline::{PredictorSummary, steps};
use atb_predictor::{Evaluation, Kind, LeftOutPrediction, Metrics, Predictor};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::Serialize;

use super::SpaceArguments;
use crate::display::Display;
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Measurement files of one device, as `atb profile` writes them
    #[arg(required = true)]
    measurements: Vec<PathBuf>,
    #[command(flatten)]
    space: SpaceArguments,
    /// Kind of model
    #[arg(long, default_value_t, value_parser = kinds())]
    model: Kind,
    /// What to fit: latency, memory or load-time
    #[arg(long, default_value = "latency")]
    quantity: Quantity,
    /// Measurement file of other architectures to test the predictor on; several are possible
    #[arg(long = "test", value_name = "MEASUREMENTS")]
    tests: Vec<PathBuf>,
    /// Predictor file
    #[arg(long, short, default_value = "predictor.json")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// The kinds that there are; of former ones the error says what became of them.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    let known = |kind: &Kind| PossibleValue::new(kind.name()).help(kind.about());
    let former = Kind::RETIRED.iter().map(|name| PossibleValue::new(*name).hide(true));
    PossibleValuesParser::new(Kind::ALL.iter().map(known).chain(former))
        .try_map(|name| name.parse::<Kind>())
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let space = arguments.space.find()?;
    let files = steps::read_measurements(&arguments.measurements)?;
    let mut display = Display::new();
    let Arguments { model, quantity, out, .. } = arguments;
    let predictor = steps::fit(&files, &space, *model, *quantity, out, &mut display)?;
    let fitted = Fitted::of(&predictor, out, &arguments.tests, &mut display)?;
    arguments.output.print(&fitted)
}

/// A predictor, as `atb fit --format json` and `atb calibrate --format json` print it. Shares and
/// relative errors are fractions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Fitted {
    /// Version of the schema: 1.
    schema: u32,
    /// Its file.
    predictor: String,
    /// What it predicts: `latency`, `memory` or `load-time`.
    quantity: String,
    /// The unit of that.
    unit: String,
    /// The kind of model.
    model: String,
    /// Cross-validated errors.
    validation: Errors,
    /// Mean relative error of one measurement; null if nothing was measured twice.
    noise_floor: Option<f64>,
    /// The cross-validated predictions that were farthest off, worst first.
    worst: Vec<Worst>,
    /// The same of other measurements; null without them.
    tested: Option<Tested>,
}

/// What a predictor is worth on measurements of others.
#[derive(Debug, Serialize, JsonSchema)]
struct Tested {
    /// Errors.
    errors: Errors,
    /// Share of the measurements inside the prediction's 90 % interval.
    coverage: f64,
    /// The predictions that were farthest off, worst first.
    worst: Vec<Worst>,
}

/// Errors of predictions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Errors {
    /// Predictions compared.
    pub(super) count: usize,
    /// Mean absolute relative error.
    pub(super) mape: f64,
    /// Root mean square error, in the unit of what is predicted.
    pub(super) rmse: f64,
    /// Share within 5 %.
    pub(super) within_5: f64,
    /// Share within 10 %.
    pub(super) within_10: f64,
    /// Kendall's tau.
    pub(super) tau: f64,
}

impl Errors {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let Metrics { count, mape, rmse, within_5, within_10, tau } = *metrics;
        Self { count, mape, rmse, within_5, within_10, tau }
    }

    fn rows(&self, counted: &str, mape: &str, unit: &str) -> Vec<(String, String)> {
        [
            (counted, self.count.to_string()),
            (mape, percent(self.mape)),
            ("RMSE", format!("{:.3} {unit}", self.rmse)),
            ("within 5 %", percent(self.within_5)),
            ("within 10 %", percent(self.within_10)),
            ("Kendall tau", format!("{:.3}", self.tau)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// A prediction that was far off.
#[derive(Debug, Serialize, JsonSchema)]
struct Worst {
    /// The architecture.
    architecture: String,
    /// As measured.
    measured: f64,
    /// As predicted.
    predicted: f64,
    /// The prediction's signed relative error.
    error: f64,
    /// Relative spread of the raw samples.
    spread: f64,
}

impl Worst {
    fn of(prediction: &LeftOutPrediction) -> Self {
        Self {
            architecture: prediction.arch.id(),
            measured: prediction.measured,
            predicted: prediction.predicted,
            error: prediction.error(),
            spread: prediction.spread,
        }
    }
}

impl Fitted {
    /// What `predictor`, which is in `file`, is worth, also on the measurement files `tests`.
    pub(super) fn of(
        predictor: &Predictor,
        file: &Path,
        tests: &[PathBuf],
        display: &mut Display,
    ) -> miette::Result<Self> {
        let tested = match tests {
            [] => None,
            files => {
                let files = steps::read_measurements(files)?;
                let Evaluation { metrics, coverage, worst } =
                    steps::evaluate(predictor, &files, display)?;
                let worst = worst.iter().map(Worst::of).collect();
                Some(Tested { errors: Errors::of(&metrics), coverage, worst })
            }
        };
        Ok(Self {
            schema: 1,
            predictor: file.display().to_string(),
            quantity: predictor.quantity.to_string(),
            unit: predictor.quantity.unit().to_owned(),
            model: predictor.model.kind().to_string(),
            validation: Errors::of(&predictor.validation.metrics),
            noise_floor: PredictorSummary::of(predictor).noise_floor,
            worst: predictor.validation.worst.iter().map(Worst::of).collect(),
            tested,
        })
    }
}

impl Document for Fitted {
    fn parts(&self) -> Vec<Part> {
        let mut rows = vec![("model".to_owned(), self.model.clone())];
        rows.extend(self.validation.rows("architectures", "cross-validated MAPE", &self.unit));
        let noise = self.noise_floor.map_or("nothing was measured twice".to_owned(), percent);
        rows.push(("noise floor of the data".to_owned(), noise));
        let mut parts = vec![Part::Named(rows), worst(&self.worst, &self.unit)];
        if let Some(tested) = &self.tested {
            let mut rows = tested.errors.rows("tested on others", "MAPE", &self.unit);
            rows.push(("inside the 90 % interval".to_owned(), percent(tested.coverage)));
            parts.extend([Part::Named(rows), worst(&tested.worst, &self.unit)]);
        }
        parts
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(std::slice::from_ref(self))
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn worst(predictions: &[Worst], unit: &str) -> Part {
    let row = |worst: &Worst| {
        vec![
            worst.architecture.clone(),
            format!("{:.3}", worst.measured),
            format!("{:.3}", worst.predicted),
            format!("{:+.1} %", 100.0 * worst.error),
            percent(worst.spread),
        ]
    };
    let (measured, predicted) = (format!("measured {unit}"), format!("predicted {unit}"));
    let header = ["worst", &measured, &predicted, "error", "spread of samples"];
    Part::numbers(&header, predictions.iter().map(row).collect())
}
