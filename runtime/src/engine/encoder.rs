//! Layers one after the other: their products run tile by tile on tokens in panels.
//!
//! Tokens lie in panels of `mr`, feature by feature: `[panel][feature][mr]`. That is how every
//! kernel takes its left operand, so what a product or a pass stores is what the next one reads.
//! Padding is left out: a sequence's panels hold its real tokens only.

use std::sync::Arc;

use tract_onnx::prelude::*;

use super::kernels::Kernels;
use super::layer::{Layer, Stack};
use super::memory::Memory;
use super::parts::{LayerParts, Wanted};
use super::passes::Level;
use super::product::Product;
use super::shared::Part;
use super::steps::Steps;
use super::team::Team;

/// Layers one after the other, ready to run.
pub(super) struct Core {
    stack: Stack,
    mr: usize,
    batch: usize,
    wanted: Wanted,
    team: Arc<Team>,
}

impl Core {
    /// Packs the weights for the kernels that [`super::layer::kernels`] gave.
    pub(super) fn new(
        parts: Vec<LayerParts>,
        kernels: &[Kernels],
        (batch, sequence, hidden): (usize, usize, usize),
        wanted: Wanted,
        team: Arc<Team>,
    ) -> TractResult<Self> {
        let mr = kernels.first().map_or(0, |kernels| kernels.tile.mr);
        let layers = parts.into_iter().zip(kernels.chunks_exact(4));
        let layers: Vec<Layer> = layers
            .map(|(layer, kernels)| Layer::new(layer, hidden, kernels))
            .collect::<TractResult<_>>()?;
        let products = layers.iter().flat_map(|layer| [&layer.output, &layer.outer]);
        let width = products.map(Product::columns).max().unwrap_or(0);
        let products = layers.iter().flat_map(|it| [&it.qkv, &it.output, &it.inner, &it.outer]);
        let rounded = products.map(|product| product.rounded_stride(mr)).max().unwrap_or(0);
        let level = Level::detect();
        let stack = Stack { layers, hidden, width, rounded, sequence, level };
        Ok(Self { stack, mr, batch, wanted, team })
    }

    /// The kernel of each product and the multiplications that it takes.
    pub(super) fn kernels(&self) -> impl Iterator<Item = (&str, (usize, usize), f64)> {
        let rows = (self.batch * self.stack.sequence) as f64;
        self.stack
            .layers
            .iter()
            .flat_map(|layer| [&layer.qkv, &layer.output, &layer.inner, &layer.outer])
            .map(move |product| {
                let (name, tile) = product.kernel();
                (name, tile, product.work(rows))
            })
    }

    pub(super) fn layers(&self) -> usize {
        self.stack.layers.len()
    }

    /// Memory for a run.
    pub(super) fn memory(&self) -> Memory {
        let shape = (self.batch, self.stack.sequence);
        Memory::new(&self.stack, shape, self.mr, self.team.threads())
    }

    /// Hidden states `[batch, sequence, hidden]` and mask to hidden states.
    pub(super) fn eval(&self, memory: &mut Memory, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let [x, mask] = inputs else {
            return Err(TractError::msg("the encoder takes hidden states and a mask"));
        };
        let (batch, sequence) = (self.batch, self.stack.sequence);
        if x.shape() != [batch, sequence, self.stack.hidden]
            || mask.shape() != [batch, 1, 1, sequence]
        {
            return Err(TractError::msg("hidden states or mask of another size"));
        }
        let mut output = Tensor::zero::<f32>(x.shape())?;
        {
            let x = x.try_as_plain_ram()?;
            let mask = mask.try_as_plain_ram()?;
            let mut output = output.try_as_plain_ram_mut()?;
            self.run(memory, x.as_slice()?, mask.as_slice()?, output.as_slice_mut()?);
        }
        Ok(tvec!(output.into_tvalue()))
    }

    /// `x` and `output` are `[batch, sequence, hidden]`, `output` all zero; `mask` is added to the
    /// scores of each key.
    fn run(&self, memory: &mut Memory, x: &[f32], mask: &[f32], output: &mut [f32]) {
        macro_rules! by_height {
            ($($mr:literal)*) => {
                match self.mr {
                    $($mr => self.run_in_panels::<$mr>(memory, x, mask, output),)*
                    _ => unreachable!("no kernel has another height"),
                }
            };
        }
        by_height!(4 8 12 16 24 32 40 48 64 80);
    }

    fn run_in_panels<const MR: usize>(
        &self,
        memory: &mut Memory,
        x: &[f32],
        mask: &[f32],
        output: &mut [f32],
    ) {
        memory.places.decide(mask, self.stack.sequence, MR, self.wanted == Wanted::All);
        let (shared, own, places) = memory.split();
        let output = Part::of(output);
        let steps = Steps::<MR> { stack: &self.stack, places, shared, x, mask, output };
        let count = self.stack.layers.len();
        // The layer of which only the first tokens are wanted, after those of which all are.
        let last = (self.wanted == Wanted::First && count > 0).then(|| count - 1);
        let whole = last.unwrap_or(count);
        self.team.run(own, |own, member| {
            let panels = member.share(places.panels);
            for number in 0..=whole {
                match number.checked_sub(1) {
                    None => steps.enter(panels.clone()),
                    Some(before) => {
                        steps.attention(before, own, panels.clone());
                        steps.after_attention(before, panels.clone());
                    }
                }
                match self.stack.layers.get(number) {
                    Some(layer) if last == Some(number) => {
                        let all = layer.qkv.all();
                        steps.project(number, panels.clone(), layer.query_panels()..all.end);
                    }
                    Some(layer) => steps.project(number, panels.clone(), layer.qkv.all()),
                    None => return steps.leave(panels),
                }
                // Attention needs the keys and values of all. Those of the layer before may be
                // overwritten from here on, and not earlier.
                if !member.meet() {
                    return;
                }
            }
        });
        if let (Some(last), Some(own)) = (last, own.first_mut()) {
            steps.attention_of_first(last, own);
            steps.after_attention(last, 0..self.batch.div_ceil(MR));
            steps.leave_first();
        }
    }
}
