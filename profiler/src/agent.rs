//! The agent as the host sees it: requests in, records out.

use atb_measurements::{AgentContext, DeviceContext, Protocol, Record, Request, Response};
use atb_targets::{Connection, Target};

use crate::{Inspection, Item, ProfileError};

/// Longest part of an unexpected answer that a message repeats.
const EXCERPT: usize = 120;

/// A started agent that has taken up a protocol.
pub struct Agent {
    target: String,
    connection: Box<dyn Connection>,
    /// The device as the agent found it.
    pub device: DeviceContext,
    /// The agent itself.
    pub agent: AgentContext,
}

impl Agent {
    /// Starts the agent on `target` and has it take up `protocol`.
    ///
    /// # Errors
    /// [`ProfileError`] if the device cannot be reached or the reference model does not run.
    pub fn start(target: &Target, protocol: &Protocol) -> Result<Self, ProfileError> {
        Self::over(target.connect()?, &target.name, protocol)
    }

    /// Has the agent at the other end of `connection` take up `protocol`.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn over(
        connection: Box<dyn Connection>,
        target: &str,
        protocol: &Protocol,
    ) -> Result<Self, ProfileError> {
        Self::with_onnx_runtime(connection, target, protocol, None)
    }

    /// As [`Agent::over`]; the agent also loads ONNX Runtime from `library` on its device.
    ///
    /// # Errors
    /// As [`Agent::start`], or if it cannot load the library.
    pub fn with_onnx_runtime(
        connection: Box<dyn Connection>,
        target: &str,
        protocol: &Protocol,
        library: Option<&str>,
    ) -> Result<Self, ProfileError> {
        let mut agent = Self::silent(connection, target);
        let onnx_runtime = library.map(str::to_owned);
        let request = Request::Start { protocol: Box::new(protocol.clone()), onnx_runtime };
        match agent.ask(&request, "start")? {
            Response::Ready { device, agent: context } => {
                agent.device = *device;
                agent.agent = *context;
                Ok(agent)
            }
            Response::Failed { subject, message } => Err(agent.refused(subject, message)),
            other => Err(agent.unexpected(&other)),
        }
    }

    /// Starts the agent on `target` only to ask what device that is.
    ///
    /// # Errors
    /// [`ProfileError`] if the device cannot be reached.
    pub fn inspect(target: &Target) -> Result<Inspection, ProfileError> {
        let mut agent = Self::silent(target.connect()?, &target.name);
        match agent.ask(&Request::Inspect, "inspect the device")? {
            Response::Inspected { device, agent } => {
                Ok(Inspection { device: *device, agent: *agent })
            }
            other => Err(agent.unexpected(&other)),
        }
    }

    /// An agent that was asked nothing yet.
    fn silent(connection: Box<dyn Connection>, target: &str) -> Self {
        Self {
            target: target.to_owned(),
            connection,
            device: DeviceContext::default(),
            agent: AgentContext::default(),
        }
    }

    /// Measures one item.
    ///
    /// # Errors
    /// [`ProfileError`] if it cannot be measured or the agent is gone.
    pub fn measure(&mut self, item: &Item) -> Result<Record, ProfileError> {
        let request = Request::Measure { subject: item.subject.clone(), role: item.role };
        let task = format!("measure {}", item.subject);
        match self.ask(&request, &task)? {
            Response::Measured { record } => Ok(*record),
            Response::Failed { subject, message } => Err(self.refused(subject, message)),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request, task: &str) -> Result<Response, ProfileError> {
        let text = serde_json::to_string(request).unwrap_or_default();
        let answer = self.connection.send(&text).and_then(|()| self.connection.receive());
        let cause = match answer {
            Ok(Some(line)) => {
                return serde_json::from_str(&line)
                    .map_err(|error| self.not_a_response(&line, error.to_string()));
            }
            Ok(None) => self.connection.end(),
            Err(error) => format!("{error}; {}", self.connection.end()),
        };
        Err(ProfileError::AgentEnded { target: self.target.clone(), task: task.to_owned(), cause })
    }

    fn refused(&self, subject: String, message: String) -> ProfileError {
        ProfileError::Refused { target: self.target.clone(), subject, message }
    }

    fn unexpected(&self, response: &Response) -> ProfileError {
        let line = serde_json::to_string(response).unwrap_or_default();
        self.not_a_response(&line, "not the answer to what was asked".to_owned())
    }

    fn not_a_response(&self, line: &str, problem: String) -> ProfileError {
        let line = line.chars().take(EXCERPT).collect();
        ProfileError::NotAResponse { target: self.target.clone(), line, problem }
    }
}
