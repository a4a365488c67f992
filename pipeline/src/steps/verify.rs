//! Checking that a bundle computes what its model folder does.

use std::path::Path;

use atb_export::{Bundle, ExportError, Parity, verify};
use atb_onnx_runtime::OnnxRuntime;
use atb_superplm::SuperPlm;
use atb_text::Encoded;
use miette::Diagnostic;

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
        Ok(library) => Some(OnnxRuntime::load(&library).map_err(ExportError::from)?),
        Err(error) => {
            let remedy = error.help().map_or_else(String::new, |help| format!(" ({help})"));
            reporter
                .warn(&format!("the comparison with ONNX Runtime was not done: {error}{remedy}"));
            None
        }
    };
    let plm = SuperPlm::load(model)?;
    let reference = |batch: &Encoded| plm.outputs(batch).map_err(PipelineError::from);
    let parity = verify(bundle, model, reference, library.as_ref())?;
    bundle.update(|report| report.parity = Some(parity))?;
    match parity.beyond() {
        None => Ok(parity),
        Some((difference, tolerance)) => {
            let bundle = bundle.folder().to_owned();
            Err(PipelineError::Parity { bundle, difference, tolerance })
        }
    }
}
