//! `atb calibrate`: carry a predictor over with a handful of measurements.

use std::path::PathBuf;

use atb_measurements::MeasurementFile;
use atb_predictor::{Observations, Predictor};
use clap::Args;

use super::fit::Fitted;
use crate::display::{self, Display};
use crate::output::OutputArguments;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// About ten measurements on the new device, with the new sequence length or runtime
    measurements: PathBuf,
    /// Predictor to carry over
    #[arg(long, default_value = "predictor.json")]
    predictor: PathBuf,
    /// Measurement file of other architectures to test the result on; several are possible
    #[arg(long = "test", value_name = "MEASUREMENTS")]
    tests: Vec<PathBuf>,
    /// Predictor file to write
    #[arg(long, short, default_value = "predictor-calibrated.json")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let predictor = Predictor::load(&arguments.predictor)?;
    display::warn_of_no_device(&predictor);
    let measured = MeasurementFile::read(&arguments.measurements)?;
    for difference in predictor.context_differences(&measured.header.device, &measured.header.agent)
    {
        display::note(&format!("note: {difference}"));
    }
    let observations = Observations::from_file(&measured)?;
    let calibrated = predictor.calibrate(&observations, 0)?;
    calibrated.save(&arguments.out)?;
    let mut display = Display::new();
    let fitted = Fitted::of(&calibrated, &arguments.out, &arguments.tests, &mut display)?;
    arguments.output.print(&fitted)
}
