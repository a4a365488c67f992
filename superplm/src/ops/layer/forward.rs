//! From a layer's input to its output.

use std::borrow::Cow;

use candle_core::Result;

use super::super::dropout::Dropout;
use super::super::gelu::gelu_with_slope;
use super::super::layer_norm;
use super::super::product::{Matrix, linear};
use super::super::scratch::Buffer;
use super::attention::{self, Attended, Projections};
use super::{InPlace, LayerOp, LayerShape};
use crate::parameters::{Linear, Norm};

/// What the backward pass needs of the forward one.
pub(super) struct Saved {
    pub(super) query: Buffer,
    pub(super) key: Buffer,
    pub(super) value: Buffer,
    pub(super) probabilities: Buffer,
    /// Values that attention gives each token, `[tokens, qkv]`.
    pub(super) attended: Buffer,
    /// Before the first LayerNorm.
    pub(super) attention_sum: Buffer,
    /// After the first LayerNorm.
    pub(super) middle: Buffer,
    /// GELU's slope, `[tokens, intermediate]`.
    pub(super) slope: Buffer,
    /// GELU's output, `[tokens, intermediate]`.
    pub(super) inner: Buffer,
    /// Before the second LayerNorm.
    pub(super) output_sum: Buffer,
}

impl LayerOp {
    /// The output, hidden states and scores if they are asked for, and what the backward
    /// pass needs.
    pub(super) fn forward(&self, x: &[f32]) -> Result<(Vec<f32>, Saved)> {
        let (shape, weights) = (&self.shape, &self.parameters);
        let asked = self.asked(x);
        let query = self.linear(&asked, &weights.query, shape.scale())?;
        let key = self.linear(x, &weights.key, 1.0)?;
        let value = self.linear(x, &weights.value, 1.0)?;
        let mut probabilities = self.scratch.take(shape.scores());
        let mut attended = self.scratch.take(shape.asked_tokens() * shape.qkv);

        let mut output = vec![0.0; shape.asked_states() + self.length_of_scores()];
        let (hidden, scores) = output.split_at_mut(shape.asked_states());
        let of = Projections { query: &query, key: &key, value: &value };
        let scores = self.with_scores.then_some(scores);
        let outputs =
            Attended { probabilities: &mut probabilities, attended: &mut attended, scores };
        attention::forward(
            shape,
            &of,
            &self.penalty,
            outputs,
            self.dropout.attention,
            &self.scratch,
        );

        let dropout = self.dropout.attention_output;
        let attention_sum =
            self.linear_to_residual(&attended, &weights.attention_output, &asked, dropout)?;
        let mut middle = self.scratch.take(shape.asked_states());
        self.layer_norm(&attention_sum, &weights.attention_norm, &mut middle)?;

        let mut inner = self.linear(&middle, &weights.intermediate, 1.0)?;
        let mut slope = self.scratch.take(inner.len());
        gelu_with_slope(&mut inner, &mut slope);
        let dropout = self.dropout.output;
        let output_sum = self.linear_to_residual(&inner, &weights.output, &middle, dropout)?;
        self.layer_norm(&output_sum, &weights.output_norm, hidden)?;
        let saved = Saved {
            query,
            key,
            value,
            probabilities,
            attended,
            attention_sum,
            middle,
            slope,
            inner,
            output_sum,
        };
        Ok((output, saved))
    }

    /// The states of `x` whose tokens' states after the layer are asked for.
    pub(super) fn asked<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        let LayerShape { sequence, asked, hidden, .. } = self.shape;
        if asked == sequence {
            return Cow::Borrowed(x);
        }
        let rows = x.chunks_exact(sequence * hidden);
        rows.flat_map(|row| &row[..asked * hidden]).copied().collect()
    }

    pub(super) fn length_of_scores(&self) -> usize {
        if self.with_scores { self.shape.scores() } else { 0 }
    }

    /// `(x W^T + b) * scale`.
    fn linear(&self, x: &[f32], layer: &Linear<InPlace>, scale: f64) -> Result<Buffer> {
        self.linear_on(x, layer, scale as f32, None)
    }

    /// `residual` and what dropout leaves of `x W^T + b`.
    fn linear_to_residual(
        &self,
        x: &[f32],
        layer: &Linear<InPlace>,
        residual: &[f32],
        dropout: Dropout,
    ) -> Result<Buffer> {
        if dropout.is_none() {
            return self.linear_on(x, layer, 1.0, Some(residual));
        }
        let mut output = self.linear_on(x, layer, 1.0, None)?;
        dropout.apply_and_add(&mut output, residual);
        Ok(output)
    }

    /// `(x W^T + b) * scale`, or that and `residual`.
    fn linear_on(
        &self,
        x: &[f32],
        layer: &Linear<InPlace>,
        scale: f32,
        residual: Option<&[f32]>,
    ) -> Result<Buffer> {
        let (bias, inputs) = (layer.bias.vector()?, layer.weight.shape[1]);
        let tokens = x.len() / inputs;
        let x = Matrix::new(x, tokens, inputs);
        let mut output = self.scratch.take(tokens * bias.len());
        layer.weight.with_matrix(|weight| {
            linear(&mut output, x, weight, &bias, scale, residual);
        })?;
        Ok(output)
    }

    fn layer_norm(&self, x: &[f32], norm: &Norm<InPlace>, output: &mut [f32]) -> Result<()> {
        let (weight, bias) = (norm.weight.vector()?, norm.bias.vector()?);
        layer_norm::kernel(x, &weight, &bias, self.shape.layer_norm_eps as f32, output);
        Ok(())
    }
}
