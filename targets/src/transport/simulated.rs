//! No device at all, only a cost model with noise.

use std::env::consts::ARCH;

use atb_measurements::Simulation;
use atb_settings::{Check, Checked};
use serde::Deserialize;

use super::kind::TransportKind;
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::host::{Host, own_agent};

/// The settings of the cost model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Simulated(pub Box<Simulation>);

impl TransportKind for Simulated {
    fn open(&self, deployment: &Deployment) -> Result<Box<dyn Device>, TargetError> {
        let agent = deployment.agent.clone();
        let simulation = self.0.clone();
        let command = move || {
            let mut command = own_agent(agent.as_deref())?;
            let settings = serde_json::to_string(&simulation).map_err(|error| {
                TargetError::Start { program: command.get_program().into(), cause: error.into() }
            })?;
            command.args(["--simulate", &settings]);
            Ok(command)
        };
        Ok(Box::new(Host::new(deployment, ARCH, Box::new(command))))
    }

    fn check(&self, at: &mut Check) {
        self.0.check(at);
    }

    fn agent_is_atb(&self) -> bool {
        true
    }

    fn has_engine(&self) -> bool {
        false
    }
}
