//! `atb fit`: fit a predictor to measurements.

use std::path::PathBuf;

use atb_measurements::Quantity;
use atb_pipeline::{PredictorSummary, steps};
use atb_predictor::{Evaluation, Kind, LeftOutPrediction, Predictor};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::SpaceArguments;
use crate::display::{self, Display};

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
    display::data(&summary(&predictor))?;
    test(&predictor, &arguments.tests, &mut display)
}

/// Prints what a predictor is worth on measurement files, if there are any.
pub(super) fn test(
    predictor: &Predictor,
    files: &[PathBuf],
    display: &mut Display,
) -> miette::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let evaluation = steps::evaluate(predictor, &steps::read_measurements(files)?, display)?;
    display::data(&format!("\n{}", tested(&evaluation, predictor.quantity)))?;
    Ok(())
}

fn tested(evaluation: &Evaluation, quantity: Quantity) -> String {
    let Evaluation { metrics, coverage, worst: farthest } = evaluation;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let table = display::table(
        &[],
        vec![
            row("tested on others", metrics.count.to_string()),
            row("MAPE", percent(metrics.mape)),
            row("RMSE", format!("{:.3} {}", metrics.rmse, quantity.unit())),
            row("within 5 %", percent(metrics.within_5)),
            row("within 10 %", percent(metrics.within_10)),
            row("Kendall tau", format!("{:.3}", metrics.tau)),
            row("inside the 90 % interval", percent(*coverage)),
        ],
    );
    format!("{table}\n\n{}", worst(farthest, quantity))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn worst(predictions: &[LeftOutPrediction], quantity: Quantity) -> String {
    let unit = quantity.unit();
    let rows = predictions
        .iter()
        .map(|worst| {
            vec![
                worst.arch.id(),
                format!("{:.3}", worst.measured),
                format!("{:.3}", worst.predicted),
                format!("{:+.1} %", 100.0 * worst.error()),
                percent(worst.spread),
            ]
        })
        .collect();
    let (measured, predicted) = (format!("measured {unit}"), format!("predicted {unit}"));
    let header = ["worst", &measured, &predicted, "error", "spread of samples"];
    display::table(&header, rows)
}

pub(super) fn summary(predictor: &Predictor) -> String {
    let summary = PredictorSummary::of(predictor);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let metrics = display::table(
        &[],
        vec![
            row("model", predictor.model.kind().to_string()),
            row("architectures", summary.measured.to_string()),
            row("cross-validated MAPE", percent(summary.mape)),
            row(
                "RMSE",
                format!("{:.3} {}", predictor.validation.metrics.rmse, predictor.quantity.unit()),
            ),
            row("within 5 %", percent(summary.within_5)),
            row("within 10 %", percent(summary.within_10)),
            row("Kendall tau", format!("{:.3}", summary.tau)),
            row(
                "noise floor of the data",
                summary.noise_floor.map_or("nothing was measured twice".to_owned(), percent),
            ),
        ],
    );
    format!("{metrics}\n\n{}", worst(&predictor.validation.worst, predictor.quantity))
}
