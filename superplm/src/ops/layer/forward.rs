//! From a layer's input to its output.

use candle_core::Result;

use super::super::gelu::gelu_with_slope;
use super::super::layer_norm;
use super::super::product::{Matrix, linear};
use super::super::scratch::Buffer;
use super::attention::{self, Projections};
use super::{InPlace, LayerOp};
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
        let tokens = shape.tokens();
        let query = self.linear(x, &weights.query, shape.scale(), None)?;
        let key = self.linear(x, &weights.key, 1.0, None)?;
        let value = self.linear(x, &weights.value, 1.0, None)?;
        let mut probabilities = self.scratch.take(shape.scores());
        let mut attended = self.scratch.take(tokens * shape.qkv);

        let mut output = vec![0.0; shape.states() + self.length_of_scores()];
        let (hidden, scores) = output.split_at_mut(shape.states());
        let of = Projections { query: &query, key: &key, value: &value };
        let scores = self.with_scores.then_some(scores);
        attention::forward(shape, &of, &self.penalty, &mut probabilities, &mut attended, scores);

        let attention_sum = self.linear(&attended, &weights.attention_output, 1.0, Some(x))?;
        let mut middle = self.scratch.take(shape.states());
        self.layer_norm(&attention_sum, &weights.attention_norm, &mut middle)?;

        let mut inner = self.linear(&middle, &weights.intermediate, 1.0, None)?;
        let mut slope = self.scratch.take(inner.len());
        gelu_with_slope(&mut inner, &mut slope);
        let output_sum = self.linear(&inner, &weights.output, 1.0, Some(&middle))?;
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

    pub(super) fn length_of_scores(&self) -> usize {
        if self.with_scores { self.shape.scores() } else { 0 }
    }

    /// `(x W^T + b) * scale`, or that and `residual`.
    fn linear(
        &self,
        x: &[f32],
        layer: &Linear<InPlace>,
        scale: f64,
        residual: Option<&[f32]>,
    ) -> Result<Buffer> {
        let tokens = self.shape.tokens();
        let bias = layer.bias.vector()?;
        let x = Matrix::new(x, tokens, x.len() / tokens);
        let mut output = self.scratch.take(tokens * bias.len());
        layer.weight.with_matrix(|weight| {
            linear(&mut output, x, weight, &bias, scale as f32, residual);
        })?;
        Ok(output)
    }

    fn layer_norm(&self, x: &[f32], norm: &Norm<InPlace>, output: &mut [f32]) -> Result<()> {
        let (weight, bias) = (norm.weight.vector()?, norm.bias.vector()?);
        layer_norm::kernel(x, &weight, &bias, self.shape.layer_norm_eps as f32, output);
        Ok(())
    }
}
