//! From a model as it was read to the one that runs.

use tract_onnx::prelude::*;

use crate::engine::{self, Engine, EnginePath};

/// The model as it runs, and on what: everything that can be worked out before a run is done here.
///
/// `outputs` are the names of the model's outputs.
pub(crate) fn optimised(
    model: InferenceModel,
    engine: Engine,
    outputs: &[String],
    threads: usize,
) -> TractResult<(TypedModel, EnginePath)> {
    if engine == Engine::Plain {
        return Ok((model.into_optimized()?, EnginePath::Plain));
    }
    let mut model = model.into_typed()?;
    let path = engine::fuse(&mut model, engine, outputs, threads)?;
    Ok((model.into_optimized()?, path))
}
