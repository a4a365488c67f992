//! What a device is and how to reach it.
//!
//! A [`Target`] is a TOML file, one for each device; the ready ones lie in
//! `targets/devices/` and are built in. [`Target::connect`] starts the agent there and
//! gives a [`Connection`]: lines in, lines out. Whoever speaks over it need not know
//! whether the device is this machine or a phone.
//!
//! ```
//! use atb_targets::Target;
//!
//! let target = Target::find("local")?;
//! assert_eq!(target.name, "local");
//! # Ok::<(), atb_targets::TargetError>(())
//! ```

mod connection;
mod target;

pub use connection::{Connection, ProcessConnection};
pub use target::{Target, TargetError, Transport};
