//! The lines that host and agent exchange: one JSON object a line, nothing else.

use serde::{Deserialize, Serialize};

use crate::{AgentContext, DeviceContext, Protocol, Record, Role, Subject};

/// What the host asks of the agent, one line each on the agent's standard input. The end
/// of the input ends the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Take up a protocol, build the reference model, and say what device this is.
    Start {
        /// The protocol of all measurements that follow.
        protocol: Box<Protocol>,
    },
    /// Measure one model by the protocol.
    Measure {
        /// What to measure.
        subject: Subject,
        /// Why; copied into the record.
        role: Role,
    },
}

/// What the agent answers, one line each on its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// The protocol is taken up.
    Ready {
        /// The device.
        device: Box<DeviceContext>,
        /// The agent.
        agent: Box<AgentContext>,
    },
    /// A model was measured.
    Measured {
        /// Its record.
        record: Box<Record>,
    },
    /// A request could not be served; the agent goes on with the next one.
    Failed {
        /// What was asked for.
        subject: String,
        /// Why it failed.
        message: String,
    },
}
