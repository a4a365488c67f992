//! What is known of an encoder before it is packed: its weights, and whose states are read.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{EvalOp, Op, StaticName, TypedOp, as_op, op_as_typed_op};

use super::passes::Norm;

/// A linear module: weights `[inputs, outputs]`, and a bias for each output.
pub(super) struct Linear {
    pub(super) weights: Weights,
    pub(super) bias: Vec<f32>,
}

/// The weights of a linear module, as its file has them.
pub(super) enum Weights {
    /// f32.
    Values(Arc<Tensor>),
    /// i8, and for each output what a step is worth.
    Steps {
        /// How many steps each weight is.
        steps: Arc<Tensor>,
        /// One for each output.
        scales: Vec<f32>,
    },
}

impl Weights {
    /// Inputs and outputs.
    pub(super) fn sizes(&self) -> Option<[usize; 2]> {
        let (Self::Values(tensor) | Self::Steps { steps: tensor, .. }) = self;
        tensor.shape().try_into().ok()
    }

    pub(super) fn are_steps(&self) -> bool {
        matches!(self, Self::Steps { .. })
    }

    /// The weights of one output.
    pub(super) fn column(&self, output: usize) -> TractResult<Vec<f32>> {
        Ok(match self {
            Self::Values(values) => column::<f32>(values, output)?.collect(),
            Self::Steps { steps, scales } => {
                let scale = scales[output];
                column::<i8>(steps, output)?.map(|step| f32::from(step) * scale).collect()
            }
        })
    }

    /// The steps of one output and what each is worth, where there are any.
    pub(super) fn steps(&self, output: usize) -> TractResult<Option<(Vec<i8>, f32)>> {
        let Self::Steps { steps, scales } = self else { return Ok(None) };
        Ok(Some((column::<i8>(steps, output)?.collect(), scales[output])))
    }
}

fn column<T: Datum + Copy>(
    matrix: &Tensor,
    output: usize,
) -> TractResult<impl Iterator<Item = T> + '_> {
    let outputs = matrix.shape().last().copied().unwrap_or(1);
    let values = matrix.try_as_plain_ram()?.as_slice::<T>()?;
    Ok(values[output..].iter().step_by(outputs).copied())
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
