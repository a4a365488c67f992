//! From a model as it was read to the one that runs.

use tract_onnx::prelude::*;

use crate::bounds;
use crate::engine::{self, Engine, EnginePath};

/// The model as it runs, and on what: everything that can be worked out before a run is done here.
///
/// It takes `batch` sequences of `sequence` tokens; `outputs` are the names of its outputs.
pub(crate) fn optimised(
    mut model: InferenceModel,
    [batch, sequence]: [usize; 2],
    engine: Engine,
    outputs: &[String],
    threads: usize,
) -> TractResult<(TypedModel, EnginePath)> {
    bounds::analyse(&mut model)?;
    let mut model = model.into_typed()?;
    bounds::check_typed(&model, batch.saturating_mul(sequence) as u64, sequence as u64)?;
    let path = match engine {
        Engine::Plain => EnginePath::Plain,
        _ => engine::fuse(&mut model, engine, outputs, threads)?,
    };
    Ok((model.into_optimized()?, path))
}
