//! Encoder layers as one operation on tract's matrix kernels, in place of the graph's nodes.

mod buffer;
mod encoder;
mod integers;
mod kernels;
mod layer;
mod lookup;
mod memory;
mod operation;
mod parts;
mod passes;
mod places;
mod product;
mod readers;
mod recognise;
mod rounded;
mod shared;
mod steps;
mod team;

use std::sync::Arc;

use tract_onnx::prelude::*;

use encoder::Core;
use operation::Encoder;
use parts::Pending;
use team::Team;

/// How a model is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Encoder layers as one operation, on kernels that follow from the processor alone: every
    /// load takes the same ones.
    #[default]
    Fixed,
    /// As [`Engine::Fixed`], on the kernels that are fastest where it runs; measuring them takes
    /// some milliseconds at load.
    Tuned,
    /// As [`Engine::Fixed`], and whatever a file has in integers is computed in integers, even
    /// where the processor is no faster at it.
    Integers,
    /// The graph as tract runs it.
    Plain,
}

/// What a loaded model runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnginePath {
    /// So many encoder layers run as one operation.
    Fused {
        /// Layers.
        layers: usize,
    },
    /// The graph as tract runs it.
    Plain,
}

impl std::fmt::Display for EnginePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fused { layers } => write!(f, "fused ({layers} layers)"),
            Self::Plain => f.write_str("plain tract"),
        }
    }
}

/// The kernels of an operation of ours, with the multiplications that they take.
pub(crate) fn kernels(node: &TypedNode) -> Vec<(String, (usize, usize), f64)> {
    let Some(encoder) = node.op_as::<Encoder>() else { return Vec::new() };
    // Tokens are the rows here.
    let kernels = encoder.core.kernels();
    kernels.map(|(name, (mr, nr), work)| (name.to_owned(), (nr, mr), work)).collect()
}

/// Replaces the encoder layers of `model` that are recognised; the others stay as they are.
///
/// `outputs` are the names of the model's outputs: what they say of padding does not count. Their
/// work is shared by so many threads.
pub(crate) fn fuse(
    model: &mut TypedModel,
    engine: Engine,
    outputs: &[String],
    threads: usize,
) -> TractResult<EnginePath> {
    let mut pending = Vec::new();
    // Last to first: what an earlier group gives is then still where the later ones look.
    for group in groups(model)?.into_iter().rev() {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (x, mask, output, shape) = (first.x, first.mask, last.output, first.shape);
        let wanted = readers::wanted(model, output, mask, outputs);
        let parts: Vec<_> = group.into_iter().map(|found| found.parts).collect();
        let Some(kernels) = layer::kernels(&parts, shape, engine) else { continue };
        let name = format!("{}.fused", model.node(output.node).name);
        let mut patch = TypedModelPatch::default();
        let inputs = patch.taps(model, &[x, mask])?;
        let wires = patch.wire_node(name, Pending { number: pending.len() }, &inputs)?;
        patch.shunt_outside(model, output, wires[0])?;
        patch.apply(model)?;
        pending.push(Some((parts, kernels, shape, wanted)));
    }
    if pending.is_empty() {
        return Ok(EnginePath::Plain);
    }
    // The weights are the layers' alone now, and each goes as soon as it is packed.
    model.compact()?;
    let team = Arc::new(Team::new(threads)?);
    let mut layers = 0;
    for node in model.nodes_mut() {
        let Some(Pending { number }) = node.op_as::<Pending>() else { continue };
        let Some((parts, kernels, shape, wanted)) = pending.get_mut(*number).and_then(Option::take)
        else {
            return Err(TractError::msg("an encoder was doubled"));
        };
        let core = Core::new(parts, &kernels, shape, wanted, Arc::clone(&team))?;
        layers += core.layers();
        node.op = Box::new(Encoder { core: Arc::new(core) });
    }
    Ok(EnginePath::Fused { layers })
}

/// Layers that follow each other, with nobody else looking at what is between them.
fn groups(model: &TypedModel) -> TractResult<Vec<Vec<recognise::Found>>> {
    let mut groups: Vec<Vec<recognise::Found>> = Vec::new();
    for found in recognise::layers(model)? {
        let follows = groups.last().and_then(|group| group.last()).is_some_and(|last| {
            last.output == found.x
                && last.mask == found.mask
                && lookup::uses(model, last.output) == found.uses
        });
        match groups.last_mut() {
            Some(group) if follows => group.push(found),
            _ => groups.push(vec![found]),
        }
    }
    Ok(groups)
}
