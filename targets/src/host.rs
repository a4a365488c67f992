//! Devices that are processes of this machine, on which files need not be brought anywhere.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::connection::Connection;
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::process::{Heartbeat, ProcessConnection};

/// Makes the command that starts the agent.
type AgentCommand = Box<dyn Fn() -> Result<Command, TargetError> + Send>;

/// A process of this machine.
pub(crate) struct Host {
    machine: String,
    environment: BTreeMap<String, String>,
    command: AgentCommand,
    /// The program that runs the agent, and how to get it, if it is not the agent itself.
    program: Option<(String, &'static str)>,
}

impl Host {
    /// A device that calls itself `machine` and whose agent `command` starts.
    pub(crate) fn new(deployment: &Deployment, machine: &str, command: AgentCommand) -> Self {
        let environment = deployment.environment.clone();
        Self { machine: machine.to_owned(), environment, command, program: None }
    }

    /// The agent is run by `program`, which `help` says how to get.
    pub(crate) fn with_program(self, program: &str, help: &'static str) -> Self {
        Self { program: Some((program.to_owned(), help)), ..self }
    }
}

/// The program `agent`, or the running atb as the agent.
pub(crate) fn own_agent(agent: Option<&Path>) -> Result<Command, TargetError> {
    if let Some(program) = agent {
        return Ok(Command::new(program));
    }
    let itself = env::current_exe()
        .map_err(|cause| TargetError::Start { program: PathBuf::from("atb"), cause })?;
    let mut command = Command::new(itself);
    command.arg("agent");
    Ok(command)
}

impl Device for Host {
    fn machine(&self) -> &str {
        &self.machine
    }

    fn connect(&self) -> Result<Box<dyn Connection>, TargetError> {
        let mut command = (self.command)()?;
        // A backtrace at every error that the runtime recovers from costs more than building
        // the model does.
        command.env_remove("RUST_BACKTRACE").envs(&self.environment);
        let program = command.get_program().to_owned();
        let started = ProcessConnection::spawn_with(command, Heartbeat::default());
        Ok(Box::new(started.map_err(|cause| match &self.program {
            Some((program, help)) => {
                TargetError::Program { program: program.clone(), cause, help: (*help).to_owned() }
            }
            None => TargetError::Start { program: program.into(), cause },
        })?))
    }

    fn push(&self, local: &Path, _: &str) -> Result<String, TargetError> {
        let path = fs_err::canonicalize(local)?;
        path.into_os_string().into_string().map_err(|path| {
            let text = format!("the path {} is not UTF-8", path.display());
            TargetError::Io(io::Error::other(text))
        })
    }

    fn pull(&self, path: &str, local: &Path) -> Result<(), TargetError> {
        Ok(atb_files::write(local, &fs_err::read(path)?)?)
    }

    fn remove(&self, _: &str) -> Result<(), TargetError> {
        Ok(())
    }

    fn clean_up(&self) -> Result<(), TargetError> {
        Ok(())
    }
}
