//! From the gradient of a layer's output to those of its input and weights.

use candle_core::Result;

use super::super::dropout::Dropout;
use super::super::layer_norm;
use super::super::loops::multiply_by;
use super::super::product::{Matrix, MatrixMut, Mode, multiply_in_parallel};
use super::super::scratch::Buffer;
use super::attention::{self, AttendedGradients, ProjectionGradients, Projections};
use super::forward::Saved;
use super::{InPlace, LayerOp, LayerShape};
use crate::parameters::{Linear, Norm};

impl LayerOp {
    /// The gradient of the input; those of the weights are added where they belong.
    ///
    /// Buffers become what the next step needs: a residual's gradient is what its sum's is,
    /// and gets the other branch's added.
    pub(super) fn backward(&self, x: &[f32], gradient: &[f32], saved: Saved) -> Result<Vec<f32>> {
        let (shape, weights) = (&self.shape, &self.parameters);
        let (hidden, scores) = gradient.split_at(shape.asked_states());
        let scores = self.with_scores.then_some(scores);

        // The feed-forward block.
        let mut middle = self.scratch.take(shape.asked_states());
        middle.copy_from_slice(hidden);
        self.layer_norm_gradient(&saved.output_sum, &weights.output_norm, &mut middle)?;
        let mut inner = self.scratch.take(shape.asked_tokens() * shape.intermediate);
        let (output, kept) = (&weights.output, self.kept(&middle, self.dropout.output));
        let of_output = kept.as_deref().unwrap_or(&middle);
        self.linear_gradient(&saved.inner, output, of_output, &mut inner, Mode::Overwrite)?;
        drop(kept);
        multiply_by(&mut inner, &saved.slope);
        let intermediate = &weights.intermediate;
        self.linear_gradient(&saved.middle, intermediate, &inner, &mut middle, Mode::Add)?;
        drop(inner);

        // The attention block.
        self.layer_norm_gradient(&saved.attention_sum, &weights.attention_norm, &mut middle)?;
        let (all, asked) = (shape.tokens() * shape.qkv, shape.asked_tokens() * shape.qkv);
        let mut attended = self.scratch.take(asked);
        let output = &weights.attention_output;
        let kept = self.kept(&middle, self.dropout.attention_output);
        let of_output = kept.as_deref().unwrap_or(&middle);
        self.linear_gradient(&saved.attended, output, of_output, &mut attended, Mode::Overwrite)?;
        drop(kept);
        let [mut query, mut key, mut value]: [Buffer; 3] =
            [asked, all, all].map(|length| self.scratch.take(length));
        attention::backward(
            shape,
            &Projections { query: &saved.query, key: &saved.key, value: &saved.value },
            &saved.probabilities,
            &AttendedGradients { attended: &attended, scores },
            ProjectionGradients { query: &mut query, key: &mut key, value: &mut value },
            self.dropout.attention,
            &self.scratch,
        );
        self.linear_gradient(&self.asked(x), &weights.query, &query, &mut middle, Mode::Add)?;
        let mut input = self.of_all(&middle);
        for (gradient, projection) in [(key, &weights.key), (value, &weights.value)] {
            self.linear_gradient(x, projection, &gradient, &mut input, Mode::Add)?;
        }
        Ok(input)
    }

    /// The gradient of all tokens' states from that of the tokens that are asked for.
    fn of_all(&self, gradient: &[f32]) -> Vec<f32> {
        let LayerShape { sequence, asked, hidden, .. } = self.shape;
        if asked == sequence {
            return gradient.to_vec();
        }
        let mut all = vec![0.0; self.shape.states()];
        let rows = all.chunks_exact_mut(sequence * hidden);
        for (row, gradient) in rows.zip(gradient.chunks_exact(asked * hidden)) {
            row[..asked * hidden].copy_from_slice(gradient);
        }
        all
    }

    /// What dropout leaves of the gradient of a residual's sum for the branch; `None` if all of it.
    fn kept(&self, gradient: &[f32], dropout: Dropout) -> Option<Buffer> {
        if dropout.is_none() {
            return None;
        }
        let mut kept = self.scratch.take(gradient.len());
        kept.copy_from_slice(gradient);
        dropout.apply_to_all(&mut kept);
        Some(kept)
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
        let (inputs, outputs) = (layer.weight.shape[1], layer.weight.shape[0]);
        let tokens = x.len() / inputs;
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
