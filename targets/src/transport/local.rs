//! The machine that atb itself runs on.

use std::env::consts::ARCH;

use serde::Deserialize;

use super::kind::TransportKind;
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::host::{Host, own_agent};

/// A process on this machine; it has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {}

impl TransportKind for Local {
    fn open(&self, deployment: &Deployment) -> Result<Box<dyn Device>, TargetError> {
        let agent = deployment.agent.clone();
        Ok(Box::new(Host::new(deployment, ARCH, Box::new(move || own_agent(agent.as_deref())))))
    }

    fn is_this_machine(&self) -> bool {
        true
    }

    fn agent_is_atb(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::Target;

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let agent = Some(PathBuf::from("no/such/agent"));
        let target = Target { agent, ..Target::find("local").expect("built in") };
        let error = target.connect().err().expect("cannot start").to_string();
        assert!(error.starts_with("the agent no/such/agent could not be started"), "{error}");
    }
}
