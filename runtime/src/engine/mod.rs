//! Encoder layers as one operation on tract's matrix kernels, in place of the graph's nodes.

mod buffer;
mod encoder;
mod kernels;
mod passes;
mod recognise;

use std::sync::Arc;

use tract_onnx::prelude::*;

use encoder::{Core, Encoder};

/// How a model is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Encoder layers as one operation, on the kernels that are fastest where it runs, which
    /// takes some milliseconds at load. Padding is not computed: its outputs are zero.
    Tuned,
    /// As [`Engine::Tuned`], on the kernels that tract chooses: every load gives the same ones.
    Fixed,
    /// The graph as tract runs it.
    #[default]
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
    encoder.core.kernels().map(|(name, tile, work)| (name.to_owned(), tile, work)).collect()
}

/// Replaces the encoder layers of `model` that are recognised; the others stay as they are.
pub(crate) fn fuse(model: &mut TypedModel, engine: Engine) -> TractResult<EnginePath> {
    let measure = engine == Engine::Tuned;
    let mut groups: Vec<Vec<recognise::Found>> = Vec::new();
    for found in recognise::layers(model)? {
        let follows = groups.last().and_then(|group| group.last()).is_some_and(|last| {
            // Queries, keys, values and the residual, and nobody else.
            last.output == found.x
                && last.mask == found.mask
                && recognise::uses(model, last.output) == 4
        });
        match groups.last_mut() {
            Some(group) if follows => group.push(found),
            _ => groups.push(vec![found]),
        }
    }
    let mut fused = 0;
    // Last to first: what an earlier group gives is then still where the later ones look.
    for group in groups.into_iter().rev() {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (x, mask, output, shape) = (first.x, first.mask, last.output, first.shape);
        let parts: Vec<_> = group.into_iter().map(|found| found.parts).collect();
        let Some(core) = Core::new(&parts, shape, measure, false) else { continue };
        fused += core.layers();
        let name = format!("{}.fused", model.node(output.node).name);
        let mut patch = TypedModelPatch::default();
        let inputs = patch.taps(model, &[x, mask])?;
        let wires = patch.wire_node(name, Encoder { core: Arc::new(core) }, &inputs)?;
        patch.shunt_outside(model, output, wires[0])?;
        patch.apply(model)?;
    }
    Ok(if fused > 0 { EnginePath::Fused { layers: fused } } else { EnginePath::Plain })
}
