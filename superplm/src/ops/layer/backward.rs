//! From the gradient of a layer's output to those of its input and weights.

use candle_core::Result;

use super::super::layer_norm;
use super::super::loops::multiply_by;
use super::super::product::{Matrix, MatrixMut, Mode, multiply_in_parallel};
use super::super::scratch::Buffer;
use super::attention::{self, ProjectionGradients, Projections};
use super::forward::Saved;
use super::{InPlace, LayerOp};
use crate::parameters::{Linear, Norm};

impl LayerOp {
    /// The gradient of the input; those of the weights are added where they belong.
    ///
    /// Buffers become what the next step needs: a residual's gradient is what its sum's is,
    /// and gets the other branch's added.
    pub(super) fn backward(&self, x: &[f32], gradient: &[f32], saved: Saved) -> Result<Vec<f32>> {
        let (shape, weights) = (&self.shape, &self.parameters);
        let (hidden, scores) = gradient.split_at(shape.states());
        let scores = self.with_scores.then_some(scores);

        // The feed-forward block.
        let mut middle = self.scratch.take(shape.states());
        middle.copy_from_slice(hidden);
        self.layer_norm_gradient(&saved.output_sum, &weights.output_norm, &mut middle)?;
        let mut inner = self.scratch.take(shape.tokens() * shape.intermediate);
        let output = &weights.output;
        self.linear_gradient(&saved.inner, output, &middle, &mut inner, Mode::Overwrite)?;
        multiply_by(&mut inner, &saved.slope);
        let intermediate = &weights.intermediate;
        self.linear_gradient(&saved.middle, intermediate, &inner, &mut middle, Mode::Add)?;
        drop(inner);

        // The attention block.
        self.layer_norm_gradient(&saved.attention_sum, &weights.attention_norm, &mut middle)?;
        let width = shape.tokens() * shape.qkv;
        let mut attended = self.scratch.take(width);
        let output = &weights.attention_output;
        self.linear_gradient(&saved.attended, output, &middle, &mut attended, Mode::Overwrite)?;
        let [mut query, mut key, mut value]: [Buffer; 3] =
            std::array::from_fn(|_| self.scratch.take(width));
        attention::backward(
            shape,
            &Projections { query: &saved.query, key: &saved.key, value: &saved.value },
            &saved.probabilities,
            &attended,
            scores,
            ProjectionGradients { query: &mut query, key: &mut key, value: &mut value },
            &self.scratch,
        );
        let mut input = middle.to_vec();
        for (gradient, projection) in
            [(query, &weights.query), (key, &weights.key), (value, &weights.value)]
        {
            self.linear_gradient(x, projection, &gradient, &mut input, Mode::Add)?;
        }
        Ok(input)
    }

    /// Adds the weights' gradients of `x W^T + b`, and sets that of `x`, or adds it.
    fn linear_gradient(
        &self,
        x: &[f32],
        layer: &Linear<InPlace>,
        gradient: &[f32],
        to_x: &mut [f32],
        mode: Mode,
    ) -> Result<()> {
        let tokens = self.shape.tokens();
        let (inputs, outputs) = (x.len() / tokens, gradient.len() / tokens);
        let of_output = Matrix::new(gradient, tokens, outputs);
        let to_x = MatrixMut::new(to_x, tokens, inputs);
        layer.weight.with_matrix(|weight| {
            multiply_in_parallel(to_x, of_output, weight, 1.0, mode);
        })?;
        let x = Matrix::new(x, tokens, inputs);
        layer.weight.add_product(of_output.transposed(), x, &self.scratch);
        layer.bias.add_columns(gradient);
        Ok(())
    }

    /// Replaces the gradient of a LayerNorm's output by that of its input.
    fn layer_norm_gradient(
        &self,
        x: &[f32],
        norm: &Norm<InPlace>,
        gradient: &mut [f32],
    ) -> Result<()> {
        let weight = norm.weight.vector()?;
        let eps = self.shape.layer_norm_eps as f32;
        let [of_weight, of_bias] = layer_norm::gradient(x, &weight, eps, gradient);
        norm.weight.add(&of_weight);
        norm.bias.add(&of_bias);
        Ok(())
    }
}
