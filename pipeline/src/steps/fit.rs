//! Fitting a predictor, and what it is worth on other measurements.

use std::path::{Path, PathBuf};

use atb_measurements::{MeasurementFile, Quantity, Verdict};
use atb_predictor::{Evaluation, FitSettings, Kind, Observations, Predictor};
use atb_space::Space;

use crate::{PipelineError, Reporter};

/// Fits a predictor of `quantity` and the given kind for `space` to measurement files and
/// writes it to `file`.
///
/// # Errors
/// [`PipelineError`] if the measurements do not suffice.
pub fn fit(
    measurements: &[MeasurementFile],
    space: &Space,
    kind: Kind,
    quantity: Quantity,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Predictor, PipelineError> {
    for measured in measurements {
        if let Some(torn) = &measured.torn {
            reporter.warn(&format!(
                "{}: line {} is incomplete and was left out; the measurement was interrupted there",
                measured.path.display(),
                torn.line
            ));
        }
        for objection in Verdict::of(measured)?.objections {
            reporter.warn(&format!("{} is not trustworthy: {objection}", measured.path.display()));
        }
    }
    let observations = Observations::of_quantity(measurements, quantity)?;
    let predictor = Predictor::fit(&observations, space, &FitSettings { kind, seed: 0 })?;
    if let Some(first) = predictor.left_out.first() {
        reporter.warn(&format!(
            "{} measured architectures are not in the space and were left out, the first because {}",
            predictor.left_out.len(),
            first.reason
        ));
    }
    predictor.save(file)?;
    Ok(predictor)
}

/// Reads measurement files.
///
/// # Errors
/// [`PipelineError::Measurements`] naming the file and line.
pub fn read_measurements(paths: &[PathBuf]) -> Result<Vec<MeasurementFile>, PipelineError> {
    Ok(paths.iter().map(|path| MeasurementFile::read(path)).collect::<Result<_, _>>()?)
}

/// What a predictor is worth on measurement files of the same device that it was not
/// fitted on.
///
/// # Errors
/// [`PipelineError`] if the files do not go together, or hold nothing to compare with.
pub fn evaluate(
    predictor: &Predictor,
    measurements: &[MeasurementFile],
    reporter: &mut dyn Reporter,
) -> Result<Evaluation, PipelineError> {
    for file in measurements {
        for difference in predictor.context_differences(&file.header.device, &file.header.agent) {
            reporter.warn(&format!("{}: {difference}", file.path.display()));
        }
    }
    let measured = Observations::of_quantity(measurements, predictor.quantity)?;
    Ok(predictor.evaluate(&measured)?)
}
