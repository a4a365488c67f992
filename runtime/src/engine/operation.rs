//! The encoder as an operation of tract's: hidden states and mask in, hidden states out.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{
    EvalContext, EvalOp, LaneId, Op, OpState, StaticName, TypedOp, as_op, op_as_typed_op,
};

use super::encoder::Core;
use super::memory::Memory;

/// The operation: hidden states and mask in, hidden states out.
#[derive(Clone)]
pub(super) struct Encoder {
    pub(super) core: Arc<Core>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("layers", &self.core.layers()).finish_non_exhaustive()
    }
}

impl PartialEq for Encoder {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }
}

impl Eq for Encoder {}

impl Op for Encoder {
    fn name(&self) -> StaticName {
        "BertEncoder".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Encoder {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.core.eval(&mut self.core.memory(), &inputs).map(Some)
    }

    fn state(&self, _context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(EncoderState { memory: self.core.memory() })))
    }
}

impl TypedOp for Encoder {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(inputs[0].shape.clone())))
    }

    as_op!();
}

#[derive(Clone, Debug)]
struct EncoderState {
    memory: Memory,
}

impl OpState for EncoderState {
    fn eval(
        &mut self,
        _context: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let encoder = op
            .downcast_ref::<Encoder>()
            .ok_or_else(|| TractError::msg("another operation's state"))?;
        encoder.core.eval(&mut self.memory, &inputs)
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
