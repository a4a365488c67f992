//! BERT model folders: `config.json`, the weights, and the names of the parameters.
//!
//! [`Checkpoint`] reads a folder's tensors by their Hugging Face names, [`NewFolder`] writes one,
//! [`BertConfig`] is its
//! `config.json`, and [`Parameters`] is the one list of the parameters with what each of
//! their axes stands for.
//!
//! ```
//! use std::path::Path;
//! use atb_checkpoint::Checkpoint;
//!
//! // A `pytorch_model.bin` with the AutoTinyBERT reference's names.
//! let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kd/pickle");
//! let checkpoint = Checkpoint::open(&folder)?;
//! assert_eq!(checkpoint.config().architecture.id(), "2-24-36-12-36");
//! let (shape, values) = checkpoint.tensor("encoder.layer.1.attention.self.query.weight")?;
//! assert_eq!(shape, [36, 24]);
//! assert_eq!(values.len(), 36 * 24);
//! // The reference calls it `dense_fit`.
//! assert_eq!(checkpoint.shape("kd_projection.bias"), Some(&[32][..]));
//! # Ok::<(), atb_checkpoint::CheckpointError>(())
//! ```

mod checkpoint;
mod config;
mod error;
mod layout;
mod parameters;
mod weights;
mod write;

pub use checkpoint::{Checkpoint, WEIGHTS_FILE};
pub use config::{BertConfig, CONFIG_FILE};
pub use error::CheckpointError;
pub use parameters::{
    Axis, KD_PROJECTION, KD_PROJECTION_BIAS, LayerParameters, Linear, MLM_TRANSFORM, MlmHead, Norm,
    Parameters, WORD_EMBEDDINGS, axes, shape,
};
pub use write::{NewFolder, RowsI8};
