//! Devices that are processes of this machine: the machine itself, emulated processors and
//! simulated devices.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agents::agent_for;
use crate::connection::ProcessConnection;
use crate::{Connection, Device, Emulated, Target, TargetError, Transport};

/// This machine, on which files need not be brought anywhere.
pub(crate) struct ThisMachine {
    target: Target,
}

impl ThisMachine {
    pub(crate) fn new(target: &Target) -> Self {
        Self { target: target.clone() }
    }

    /// The agent's program and its arguments.
    fn command(&self) -> Result<Command, TargetError> {
        let mut command = match &self.target.transport {
            Transport::Emulated(emulated) => {
                // What machine it is, only the file of the agent says.
                let agent = agent_for(&self.target, self.machine())?;
                emulator(emulated, &agent)?
            }
            _ => match &self.target.agent {
                Some(program) => Command::new(program),
                None => {
                    let itself = env::current_exe().map_err(|source| TargetError::Start {
                        program: PathBuf::from("atb"),
                        source,
                    })?;
                    let mut command = Command::new(itself);
                    command.arg("agent");
                    command
                }
            },
        };
        if let Transport::Simulated(simulation) = &self.target.transport {
            let settings = serde_json::to_string(simulation).map_err(|error| {
                TargetError::Start { program: command.get_program().into(), source: error.into() }
            })?;
            command.args(["--simulate", &settings]);
        }
        // A backtrace at every error that the runtime recovers from costs more than building
        // the model does.
        command.env_remove("RUST_BACKTRACE").envs(&self.target.environment);
        Ok(command)
    }
}

impl Device for ThisMachine {
    fn machine(&self) -> &str {
        match &self.target.transport {
            Transport::Emulated(emulated) => {
                let program = emulated.emulator.rsplit('/').next().unwrap_or_default();
                match program.trim_start_matches("qemu-").trim_end_matches("-static") {
                    "arm" => "armv7l",
                    other => other,
                }
            }
            _ => env::consts::ARCH,
        }
    }

    fn connect(&self) -> Result<Box<dyn Connection>, TargetError> {
        let command = self.command()?;
        let program = command.get_program().to_owned();
        let started = ProcessConnection::spawn(command);
        Ok(Box::new(started.map_err(|source| match &self.target.transport {
            Transport::Emulated(emulated) => TargetError::Program {
                program: emulated.emulator.clone(),
                source,
                hint:
                    "install qemu's user mode emulation (Debian: apt install qemu-user)".to_owned(),
            },
            _ => TargetError::Start { program: program.into(), source },
        })?))
    }

    fn push(&self, local: &Path, _: &str) -> Result<String, TargetError> {
        let path = local.canonicalize().map_err(TargetError::io(local))?;
        path.into_os_string().into_string().map_err(|path| TargetError::Io {
            path: path.into(),
            source: io::Error::other("its path is not UTF-8"),
        })
    }

    fn pull(&self, path: &str, local: &Path) -> Result<(), TargetError> {
        let bytes = fs::read(path).map_err(TargetError::io(path))?;
        atb_files::write(local, &bytes).map_err(TargetError::io(local))
    }

    fn remove(&self, _: &str) -> Result<(), TargetError> {
        Ok(())
    }

    fn clean_up(&self) -> Result<(), TargetError> {
        Ok(())
    }
}

/// The emulator with what it runs; `/proc/cpuinfo` comes from a folder that it looks into
/// before the real root.
fn emulator(emulated: &Emulated, agent: &Path) -> Result<Command, TargetError> {
    let mut command = Command::new(&emulated.emulator);
    if let Some(cpu) = &emulated.cpu {
        command.args(["-cpu", cpu]);
    }
    if let Some(cpuinfo) = &emulated.cpuinfo {
        let digest = atb_files::digest(cpuinfo.as_bytes());
        let root = atb_files::cache_folder()?.join("emulated").join(&digest[..16]);
        let file = root.join("proc/cpuinfo");
        if !file.exists() {
            let folder = atb_files::folder_of(&file);
            fs::create_dir_all(folder).map_err(TargetError::io(folder))?;
            atb_files::write(&file, cpuinfo.as_bytes()).map_err(TargetError::io(&file))?;
        }
        command.arg("-L").arg(root);
    }
    command.arg(agent);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let agent = Some(PathBuf::from("no/such/agent"));
        let target = Target { agent, ..Target::find("local").expect("built in") };
        let error = target.connect().err().expect("cannot start").to_string();
        assert!(error.starts_with("the agent no/such/agent could not be started"), "{error}");
    }

    #[test]
    fn an_emulator_that_is_not_there_is_named() {
        let mut target = Target::find("emulated-cortex-a53").expect("built in");
        let Transport::Emulated(emulated) = &mut target.transport else { panic!("not emulated") };
        emulated.emulator = format!("no-such/qemu-{}", env::consts::ARCH);
        emulated.cpuinfo = None;
        target.agent = Some(env::current_exe().expect("a program"));
        let error = target.connect().err().expect("cannot start").to_string();
        assert!(error.contains("apt install qemu-user"), "{error}");
    }
}
