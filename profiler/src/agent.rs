//! The agent as the host sees it: requests in, records out.

use std::time::Instant;

use atb_measurements::{AgentContext, DeviceContext, Protocol, Record, Request, Response};
use atb_targets::{Connection, Target, visible};
use serde_json::Value;

use crate::error::ProfileError;
use crate::plan::Item;

/// Longest part of an unexpected answer that a message repeats.
const EXCERPT: usize = 120;

/// A device as its agent found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The device.
    pub device: DeviceContext,
    /// The agent.
    pub agent: AgentContext,
}

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
        let mut agent = Self::unstarted(connection, target);
        let onnx_runtime = library.map(str::to_owned);
        let request = Request::Start { protocol: Box::new(protocol.clone()), onnx_runtime };
        match agent.ask(&request, "start")? {
            Response::Ready { device, agent: context } => {
                agent.device = *device;
                agent.agent = *context;
                Ok(agent)
            }
            Response::Failed { subject, message, hint } => {
                Err(agent.refused(subject, message, hint))
            }
            other => Err(agent.unexpected(&other)),
        }
    }

    /// Starts the agent on `target` only to ask what device that is.
    ///
    /// # Errors
    /// [`ProfileError`] if the device cannot be reached.
    pub fn inspect(target: &Target) -> Result<Inspection, ProfileError> {
        let mut agent = Self::unstarted(target.connect()?, &target.name);
        match agent.ask(&Request::Inspect, "inspect the device")? {
            Response::Inspected { device, agent } => {
                Ok(Inspection { device: *device, agent: *agent })
            }
            other => Err(agent.unexpected(&other)),
        }
    }

    /// An agent that was asked nothing yet.
    fn unstarted(connection: Box<dyn Connection>, target: &str) -> Self {
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
            Response::Measured { record } => {
                let Record { subject, role, .. } = &*record;
                if (subject, *role) == (&item.subject, item.role) {
                    return Ok(*record);
                }
                let problem = format!("it is of {subject}, not of {}", item.subject);
                let line = serde_json::to_string(&record).unwrap_or_default();
                Err(self.not_a_response(&line, problem))
            }
            Response::Failed { subject, message, hint } => {
                Err(self.refused(subject, message, hint))
            }
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request, task: &str) -> Result<Response, ProfileError> {
        let text = serde_json::to_string(request).unwrap_or_default();
        tracing::debug!(line = %text.trim_end(), "to the agent");
        let begin = Instant::now();
        let answer = self.connection.send(&text).and_then(|()| self.connection.receive());
        tracing::debug!(took = ?begin.elapsed(), "the agent has answered");
        let cause = match answer {
            Ok(Some(line)) => {
                return parse(&line).map_err(|error| self.not_a_response(&line, error.to_string()));
            }
            Ok(None) => self.connection.end(),
            Err(error) => format!("{error}; {}", self.connection.end()),
        };
        Err(ProfileError::AgentEnded { target: self.target.clone(), task: task.to_owned(), cause })
    }

    fn refused(&self, subject: String, message: String, help: Option<String>) -> ProfileError {
        ProfileError::Refused { target: self.target.clone(), subject, message, help }
    }

    fn unexpected(&self, response: &Response) -> ProfileError {
        let line = serde_json::to_string(response).unwrap_or_default();
        self.not_a_response(&line, "not the answer to what was asked".to_owned())
    }

    fn not_a_response(&self, line: &str, problem: String) -> ProfileError {
        let line = visible(&line.chars().take(EXCERPT).collect::<String>());
        ProfileError::NotAResponse { target: self.target.clone(), line, problem }
    }
}

/// Reads a response, of which no text steers a terminal.
fn parse(line: &str) -> serde_json::Result<Response> {
    // Texts that could are escaped in JSON or not plain ASCII.
    let is_plain = |byte: u8| byte.is_ascii() && byte != b'\\' && byte != 0x7f;
    if line.bytes().all(is_plain) {
        return serde_json::from_str(line);
    }
    let mut value = serde_json::from_str(line)?;
    make_visible(&mut value);
    serde_json::from_value(value)
}

fn make_visible(value: &mut Value) {
    match value {
        Value::String(text) => *text = visible(text),
        Value::Array(values) => values.iter_mut().for_each(make_visible),
        Value::Object(fields) => fields.values_mut().for_each(make_visible),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
