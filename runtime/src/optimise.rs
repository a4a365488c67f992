//! From a model as it was read to the one that runs.

use tract_onnx::prelude::*;

use crate::engine::{self, Engine, EnginePath};

/// The model as it runs, and on what: everything that can be worked out before a run is done here.
pub(crate) fn optimised(
    model: InferenceModel,
    engine: Engine,
) -> TractResult<(TypedModel, EnginePath)> {
    if engine == Engine::Plain {
        return Ok((model.into_optimized()?, EnginePath::Plain));
    }
    let mut model = model.into_typed()?;
    let path = engine::fuse(&mut model, engine)?;
    Ok((model.into_optimized()?, path))
}
