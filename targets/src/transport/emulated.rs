//! Processors that qemu emulates on this machine, for single programs.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::kind::TransportKind;
use crate::agents::agent_for;
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::host::Host;

/// A processor that qemu emulates for single programs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulated {
    /// The emulator's program.
    pub emulator: String,
    /// Processor, as the emulator's `-cpu` takes it.
    #[serde(default)]
    pub cpu: Option<String>,
    /// What programs read as `/proc/cpuinfo`.
    #[serde(default)]
    pub cpuinfo: Option<String>,
}

impl TransportKind for Emulated {
    fn open(&self, deployment: &Deployment) -> Result<Box<dyn Device>, TargetError> {
        let (emulated, to_start) = (self.clone(), deployment.clone());
        let machine = self.machine().to_owned();
        // What machine it is, only the file of the agent says.
        let command = move || emulated.command(&agent_for(&to_start, emulated.machine())?);
        let host = Host::new(deployment, &machine, Box::new(command));
        let install = "install qemu's user mode emulation (Debian: apt install qemu-user)";
        Ok(Box::new(host.with_program(&self.emulator, install)))
    }
}

impl Emulated {
    /// The emulated machine, as `uname -m` names it.
    fn machine(&self) -> &str {
        let program = self.emulator.rsplit('/').next().unwrap_or_default();
        match program.trim_start_matches("qemu-").trim_end_matches("-static") {
            "arm" => "armv7l",
            other => other,
        }
    }

    /// The emulator with what it runs; `/proc/cpuinfo` comes from a folder that it looks into
    /// before the real root.
    fn command(&self, agent: &Path) -> Result<Command, TargetError> {
        let mut command = Command::new(&self.emulator);
        if let Some(cpu) = &self.cpu {
            command.args(["-cpu", cpu]);
        }
        if let Some(cpuinfo) = &self.cpuinfo {
            let digest = atb_files::digest(cpuinfo.as_bytes());
            let root = atb_files::cache_folder()?.join("emulated").join(&digest[..16]);
            let file = root.join("proc/cpuinfo");
            if !file.exists() {
                fs_err::create_dir_all(atb_files::folder_of(&file))?;
                atb_files::write(&file, cpuinfo.as_bytes())?;
            }
            command.arg("-L").arg(root);
        }
        command.arg(agent);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use miette::Diagnostic;

    use crate::{Target, Transport};

    #[test]
    fn an_emulator_that_is_not_there_is_named() {
        let mut target = Target::find("emulated-cortex-a53").expect("built in");
        let Transport::Emulated(emulated) = &mut target.transport else { panic!("not emulated") };
        emulated.emulator = format!("no-such/qemu-{}", env::consts::ARCH);
        emulated.cpuinfo = None;
        target.agent = Some(env::current_exe().expect("a program"));
        let error = target.connect().err().expect("cannot start");
        let help = error.help().expect("a remedy").to_string();
        assert!(help.contains("apt install qemu-user"), "{help}");
    }
}
