//! From a model as it was read to the one that runs.

use tract_onnx::prelude::*;

/// The model as it runs: everything that the engine can work out before a run is done here.
pub(crate) fn optimised(model: InferenceModel) -> TractResult<TypedModel> {
    model.into_optimized()
}
