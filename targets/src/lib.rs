//! What a device is and how to reach it.
//!
//! A [`Target`] is a TOML file, one for each device; the ready ones lie in
//! `targets/devices/` and are built in. [`Target::open`] reaches the [`Device`], brings
//! files there and starts the agent, which gives a [`Connection`]: lines in, lines out.
//! Whoever speaks over it need not know whether the device is this machine, a board behind
//! ssh or a phone behind adb.
//!
//! ```
//! use atb_targets::Target;
//!
//! let target = Target::find("local")?;
//! assert_eq!(target.name, "local");
//! # Ok::<(), atb_targets::TargetError>(())
//! ```

mod adb;
mod agents;
mod built_in;
mod connection;
mod cross;
mod device;
mod error;
mod local;
mod remote;
mod ssh;
mod target;

pub use adb::{AdbDevice, adb_devices};
pub use agents::{agent_path, triple_of};
pub use built_in::user_folder;
pub use connection::{Connection, ProcessConnection, Pulse};
pub use cross::{AgentBuild, BuildError, Tool};
pub use device::Device;
pub use error::TargetError;
pub use target::{Adb, Emulated, SCHEMA, Ssh, Target, Transport};
