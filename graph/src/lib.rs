//! The one definition of the network as an ONNX graph.
//!
//! A [`Network`] is an architecture at one fixed batch and sequence length. It knows its
//! nodes and, for every weight tensor, a [`TensorSpec`]; the values come from a
//! [`Weights`] source: [`HfWeights`] reads them from a checkpoint by their Hugging Face
//! names, [`RandomWeights`] makes them up for profiling. The same graph is written to a
//! file for an app ([`Network::write`]) and handed to the profiler in memory
//! ([`Network::skeleton`] and [`Network::fill_range`]), so what was profiled is what ships.
//!
//! Only operators of the default domain at opset 17 are used. Inputs are `input_ids`,
//! `attention_mask` and `token_type_ids` (int64, `[batch, sequence]`), outputs are
//! `last_hidden_state` (`[batch, sequence, hidden]`) and `pooler_output`
//! (`[batch, hidden]`), as in Hugging Face's exports. A file's metadata name its architecture;
//! [`Description::read`] gives that back.
//!
//! ```
//! use atb_graph::{Network, RandomWeights, Vocabulary};
//! use atb_space::Workload;
//!
//! let arch = "2-128-512-2-128".parse()?;
//! let network = Network::new(&arch, Workload::default(), Vocabulary::small(1000));
//! let folder = tempfile::tempdir()?;
//! network.write(&RandomWeights::new(7), &folder.path().join("model.onnx"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod description;
mod network;
mod onnx;
mod weights;

pub use description::{Description, DescriptionError};
pub use network::{GraphError, Network, TensorSpec, Vocabulary};
pub use weights::{HfWeights, Layout, RandomWeights, WeightError, Weights};

/// Names of the graph's inputs, in order.
pub const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// Name of the output `[batch, sequence, hidden]`.
pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";

/// Name of the output `[batch, hidden]`.
pub const POOLER_OUTPUT: &str = "pooler_output";

/// What is added to the attention scores of padding: large enough that its softmax is
/// exactly zero in f32, small enough for f16.
pub const MASKED_SCORE: f32 = -10_000.0;
