//! What is brought to a device and how it is started there, whatever the transport.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is brought to a device and how it is started there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// The target's name, for messages.
    pub target: String,
    /// What the agent is built for; found out from the device if absent.
    pub triple: Option<String>,
    /// The agent's program on this machine; the one that was built for the triple if absent.
    pub agent: Option<PathBuf>,
    /// A program on the device, with its arguments, that runs the agent.
    pub runner: Vec<String>,
    /// The folder on the device that everything of ours lies in.
    pub folder: String,
    /// The agent's environment variables.
    pub environment: BTreeMap<String, String>,
}
