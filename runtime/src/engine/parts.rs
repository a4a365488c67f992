//! What is known of an encoder before it is packed: its weights, and whose states are read.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{EvalOp, Op, StaticName, TypedOp, as_op, op_as_typed_op};

use super::passes::Norm;

/// A linear module: weights `[inputs, outputs]`, and a bias for each output.
pub(super) struct Linear {
    pub(super) weights: Arc<Tensor>,
    pub(super) bias: Vec<f32>,
}

/// What a layer consists of, as it is found in a graph.
pub(super) struct LayerParts {
    pub(super) heads: usize,
    /// Scores are multiplied by it.
    pub(super) score_scale: f32,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    pub(super) attention_norm: Norm,
    pub(super) inner: Linear,
    pub(super) outer: Linear,
    pub(super) norm: Norm,
}

/// What is added to a score at most where a token is padding: its share is zero then.
pub(super) const PADDING: f32 = -9_000.0;

/// Whose states are computed; each one includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// Each sequence's first token.
    First,
    /// Tokens that are not padding.
    Real,
    /// All.
    All,
}

/// Stands where an encoder will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) number: usize,
}

impl Op for Pending {
    fn name(&self) -> StaticName {
        "PendingBertEncoder".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Pending {
    fn eval_out_of_plan(&self, _inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        Ok(None)
    }
}

impl TypedOp for Pending {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(inputs[0].shape.clone())))
    }

    as_op!();
}
