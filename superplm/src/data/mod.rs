//! From raw text to training batches.
//!
//! [`prepare`] tokenizes text files once, lays the tokens out in sequences of one length
//! ([`Layout`]) and leaves them in memory-mapped shards; a [`Dataset`] reads them in any order. Masking for
//! masked language modelling is drawn for every batch.

mod batches;
mod dataset;
mod error;
mod layout;
mod masking;
mod prepare;
mod shard;

pub(crate) use batches::Batches;
pub use dataset::Dataset;
pub use error::DataError;
pub use layout::Layout;
pub(crate) use masking::{Masked, mask};
pub use prepare::{PrepareProgress, prepare};
