//! The one definition of the network as an ONNX graph.
//!
//! A [`Network`] is an architecture at one fixed batch and sequence length. It knows its
//! nodes and, for every weight tensor, a [`TensorSpec`]; the values come from a
//! [`Weights`] source: [`HfWeights`] reads them from a checkpoint by their Hugging Face
//! names, [`RandomWeights`] makes them up for profiling. The same graph is written to a
//! file for an app ([`Network::write`]) and handed to the profiler in memory
//! ([`Network::skeleton`] and [`Network::fill_range`]), so what was profiled is what ships.
//!
//! Only operators of the default domain at opset 17 are used. The inputs are those of
//! [`atb_interface::INPUTS`], the outputs those of the heads that a [`NetworkConfig`] lists,
//! under the names that Hugging Face's exports have. A file's metadata name its architecture;
//! [`Description::read`] gives that back.
//!
//! ```
//! use atb_graph::{Network, NetworkConfig, RandomWeights};
//! use atb_space::Workload;
//!
//! let arch = "2-128-512-2-128".parse()?;
//! let network = Network::new(&arch, Workload::default(), &NetworkConfig::encoder(1000));
//! let folder = tempfile::tempdir()?;
//! network.write(&RandomWeights::new(7), &folder.path().join("model.onnx"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod config;
mod description;
mod network;
mod onnx;
mod stored;
mod tensor;
mod weights;

pub use config::{ConfigError, NetworkConfig, NetworkHead};
pub use description::{Description, DescriptionError};
pub use network::{GraphError, Network};
pub use tensor::{Layout, TensorSpec};
pub use weights::{HfWeights, RandomWeights, WeightError, Weights};

/// What is added to the attention scores of padding: large enough that its softmax is
/// exactly zero in f32, small enough for f16.
pub const MASKED_SCORE: f32 = -10_000.0;
