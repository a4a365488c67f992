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

mod agent_build;
mod agents;
mod built_in;
mod connection;
mod deployment;
mod device;
mod elf;
mod error;
mod host;
mod lines;
mod marker;
mod process;
mod remote;
mod shell;
mod target;
mod toolchain;
mod transport;

pub use atb_settings::visible;

pub use agent_build::{AgentBuild, BuildError};
pub use agents::{agent_path, triple_of};
pub use built_in::user_folder;
pub use connection::Connection;
pub use deployment::Deployment;
pub use device::Device;
pub use error::TargetError;
pub use process::{Heartbeat, ProcessConnection};
pub use target::{SCHEMA, Target};
pub use toolchain::{Tool, is_on_path, tool_for};
pub use transport::*;
