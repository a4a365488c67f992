//! BERT model folders: `config.json`, the weights, and the names of the parameters.
//!
//! [`Checkpoint`] reads a folder's tensors by their Hugging Face names, [`BertConfig`] is its
//! `config.json`, and [`Parameters`] is the one list of the parameters with what each of
//! their axes stands for.
//!
//! ```no_run
//! use std::path::Path;
//! use atb_checkpoint::Checkpoint;
//!
//! let checkpoint = Checkpoint::open(Path::new("winner"))?;
//! println!("{}", checkpoint.config().architecture);
//! let (shape, values) = checkpoint.tensor("embeddings.LayerNorm.weight")?;
//! assert_eq!(shape, [values.len()]);
//! # Ok::<(), atb_checkpoint::CheckpointError>(())
//! ```

mod checkpoint;
mod config;
mod error;
mod layout;
mod parameters;
mod weights;

pub use checkpoint::{Checkpoint, WEIGHTS_FILE};
pub use config::{BertConfig, CONFIG_FILE};
pub use error::CheckpointError;
pub use parameters::{
    Axis, KD_PROJECTION, KD_PROJECTION_BIAS, LayerParameters, Linear, MLM_TRANSFORM, MlmHead, Norm,
    Parameters, WORD_EMBEDDINGS, axes, shape,
};
