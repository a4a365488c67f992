//! Starting the agent on a device, and reconnecting when it is gone.

use std::thread;
use std::time::{Duration, Instant};

use atb_measurements::Protocol;
use atb_targets::{Connection, Target, TargetError};

use crate::agent::Agent;
use crate::error::ProfileError;
use crate::observer::Observer;

/// How to start the agent on a device, and how hard to try when it is gone.
pub struct Link<'a> {
    /// The target's name.
    pub target: String,
    /// Starts an agent.
    pub connect: Box<dyn Fn() -> Result<Box<dyn Connection>, TargetError> + 'a>,
    /// How often a new one may be started in a row.
    pub attempts: u32,
    /// Time before the second attempt, doubled before each further one.
    pub pause: Duration,
    /// Shared library of ONNX Runtime on the device, for the models that it is to run.
    pub onnx_runtime: Option<String>,
}

impl<'a> Link<'a> {
    /// The link to a target: five attempts over a quarter of a minute, in which a cable can
    /// be plugged in again and a phone wakes up.
    #[must_use]
    pub fn to(target: &'a Target) -> Self {
        Self {
            target: target.name.clone(),
            connect: Box::new(|| target.connect()),
            attempts: 5,
            pause: Duration::from_secs(1),
            onnx_runtime: None,
        }
    }

    pub(crate) fn start(&self, protocol: &Protocol) -> Result<Agent, ProfileError> {
        let library = self.onnx_runtime.as_deref();
        let begin = Instant::now();
        tracing::info!(target_name = %self.target, "starting the agent");
        let agent = Agent::with_onnx_runtime((self.connect)()?, &self.target, protocol, library)?;
        tracing::info!(target_name = %self.target, took = ?begin.elapsed(), "the agent is ready");
        Ok(agent)
    }

    /// Starts a new agent for one that has ended with `error`.
    ///
    /// # Errors
    /// The last attempt's.
    pub(crate) fn start_again(
        &self,
        protocol: &Protocol,
        error: ProfileError,
        observer: &mut dyn Observer,
    ) -> Result<Agent, ProfileError> {
        let mut last = error;
        for attempt in 0..self.attempts {
            if attempt > 0 {
                thread::sleep(self.pause * 2u32.saturating_pow(attempt - 1));
            }
            match self.start(protocol) {
                Ok(agent) => return Ok(agent),
                Err(error @ (ProfileError::Target(_) | ProfileError::AgentEnded { .. })) => {
                    observer.lost(&error);
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}
