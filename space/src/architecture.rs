//! One network: its hidden size and the shape of each of its layers.

use serde::{Deserialize, Serialize};

/// The shape of one transformer layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Layer {
    /// Width of the feed-forward block (`df`).
    pub intermediate: usize,
    /// Number of attention heads (`h`).
    pub heads: usize,
    /// Total width of each of q, k and v over all heads (`dq`).
    pub qkv: usize,
}

impl Layer {
    /// Width of one attention head, `dq / h`.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.qkv / self.heads
    }
}

/// Why a set of sizes is not an architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ArchError {
    #[error("an architecture needs at least one layer")]
    NoLayers,
    #[error("{what} must be at least 1, got 0")]
    Zero { what: &'static str },
    #[error("{what} must be at most {most}, got {size}")]
    TooLarge { what: &'static str, size: usize, most: usize },
    #[error("{heads} attention heads do not divide the q|k|v size {qkv} of layer {layer} (nearest that they divide: {})", nearest_multiple(*qkv, *heads))]
    HeadsDoNotDivide {
        /// Index of the layer, from 0.
        layer: usize,
        heads: usize,
        qkv: usize,
    },
}

fn nearest_multiple(value: usize, of: usize) -> usize {
    ((value + of / 2) / of).max(1) * of
}

pub(crate) fn check_layers(layers: usize) -> Result<(), ArchError> {
    let most = Architecture::MAX_LAYERS;
    match layers {
        size if size > most => Err(ArchError::TooLarge { what: "number of layers", size, most }),
        _ => Ok(()),
    }
}

fn check_size(what: &'static str, size: usize) -> Result<(), ArchError> {
    let most = Architecture::MAX_SIZE;
    match size {
        0 => Err(ArchError::Zero { what }),
        size if size > most => Err(ArchError::TooLarge { what, size, most }),
        _ => Ok(()),
    }
}

/// A BERT encoder's architecture: hidden size and one [`Layer`] each.
///
/// Always valid: at least one layer, no size zero, heads divide the q|k|v size, and all within
/// [`Architecture::MAX_LAYERS`] and [`Architecture::MAX_SIZE`], so that what is computed of the
/// sizes ([`Cost`](crate::Cost)) does not overflow.
/// Printed and serialised in the notation `L-dm-df-h-dq`, see [`Architecture::id`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture {
    hidden: usize,
    layers: Vec<Layer>,
}

impl Architecture {
    /// The most layers.
    pub const MAX_LAYERS: usize = 1024;
    /// The largest of each size.
    pub const MAX_SIZE: usize = 1 << 20;

    /// An architecture with the given hidden size (`dm`) and layers.
    ///
    /// # Errors
    /// [`ArchError`] if there is no layer, a size is zero or too large, or heads do not divide
    /// q|k|v.
    pub fn new(hidden: usize, layers: Vec<Layer>) -> Result<Self, ArchError> {
        if layers.is_empty() {
            return Err(ArchError::NoLayers);
        }
        check_layers(layers.len())?;
        check_size("hidden size", hidden)?;
        for (index, layer) in layers.iter().enumerate() {
            for (size, what) in [
                (layer.intermediate, "intermediate size"),
                (layer.heads, "number of attention heads"),
                (layer.qkv, "q|k|v size"),
            ] {
                check_size(what, size)?;
            }
            if layer.qkv % layer.heads != 0 {
                return Err(ArchError::HeadsDoNotDivide {
                    layer: index,
                    heads: layer.heads,
                    qkv: layer.qkv,
                });
            }
        }
        Ok(Self { hidden, layers })
    }

    /// An architecture whose layers are all alike.
    ///
    /// # Errors
    /// As [`Architecture::new`].
    pub fn uniform(num_layers: usize, hidden: usize, layer: Layer) -> Result<Self, ArchError> {
        check_layers(num_layers)?;
        Self::new(hidden, vec![layer; num_layers])
    }

    /// BERT-base, `12-768-3072-12-768`: what speed-ups are quoted against.
    #[must_use]
    pub fn bert_base() -> Self {
        let layer = Layer { intermediate: 3072, heads: 12, qkv: 768 };
        Self { hidden: 768, layers: vec![layer; 12] }
    }

    /// Hidden (embedding) size, `dm`.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The layers, first to last; never empty.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Number of layers, `L`.
    #[must_use]
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// The one layer shape that all layers share, if they do.
    #[must_use]
    pub fn uniform_layer(&self) -> Option<Layer> {
        let first = self.layers[0];
        self.layers.iter().all(|layer| *layer == first).then_some(first)
    }

    /// The id used in files, logs and on the command line; the same as `to_string`.
    #[must_use]
    pub fn id(&self) -> String {
        self.to_string()
    }
}
