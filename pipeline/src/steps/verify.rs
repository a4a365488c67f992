//! Checking that a bundle computes what its model folder does.

use std::path::Path;

use atb_export::{Bundle, OnnxRuntime, Parity, TOLERANCE, verify};

use crate::{PipelineError, Reporter};

/// Compares the bundle's outputs with the model folder's in all engines there are, and
/// notes the differences in the bundle's report. Without ONNX Runtime the comparison with
/// it is left out, with a warning.
///
/// # Errors
/// [`PipelineError::Parity`] if they differ by more than the tolerance.
pub fn verify_bundle(
    bundle: &mut Bundle,
    model: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Parity, PipelineError> {
    let library = match atb_fetch::onnx_runtime() {
        Ok(library) => Some(OnnxRuntime::load(&library)?),
        Err(error) => {
            reporter.warn(&format!("{error}. The comparison with ONNX Runtime was not done"));
            None
        }
    };
    let parity = verify(bundle, model, library.as_ref())?;
    bundle.update(|report| report.parity = Some(parity))?;
    if parity.holds() {
        return Ok(parity);
    }
    Err(PipelineError::Parity {
        bundle: bundle.folder().to_owned(),
        difference: parity.largest(),
        tolerance: TOLERANCE,
    })
}
