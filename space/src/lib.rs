//! Architectures of tiny BERTs, the spaces they are searched in, and what they cost.
//!
//! An [`Architecture`] is written `L-dm-df-h-dq` (layers, hidden size, intermediate
//! size, attention heads, total q|k|v size) everywhere: in files, logs and on the
//! command line. A [`Space`] says which architectures exist; a [`Workload`] says how
//! they are run; [`Cost`] counts parameters and floating-point operations.
//!
//! ```
//! use atb_space::{Architecture, Cost, Sampler, Space};
//!
//! let s1: Architecture = "5-564-1054-8-512".parse()?;
//! assert_eq!(s1.num_layers(), 5);
//! assert!(Cost::flops(&s1, 1, 128) > 3.0e9);
//!
//! let space = Space::paper_kd();
//! let first_ten: Vec<Architecture> = Sampler::new(&space, 7).take(10).collect();
//! assert!(first_ten.iter().all(|arch| space.check(arch).is_ok()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod architecture;
mod cost;
mod notation;
mod precision;
mod range;
mod sample;
mod space;

pub use architecture::{ArchError, Architecture, Layer};
pub use cost::{Cost, TooHeavy, Workload};
pub use notation::NotationError;
pub use precision::Precision;
pub use range::Range;
pub use sample::Sampler;
pub use space::{QkvSize, Space, SpaceError};
