//! The agent's programs on this machine: where they lie and what they run on.

use std::path::PathBuf;

use atb_files::CacheError;

use crate::deployment::Deployment;
use crate::elf::elf_machine;
use crate::error::TargetError;

/// The agent's file name.
pub(crate) const AGENT: &str = "atb-agent";

/// The triples that the agent is built for by default, by the machine as `uname -m` names it.
const TRIPLES: [(&str, &[&str]); 3] = [
    ("aarch64-unknown-linux-musl", &["aarch64", "arm64"]),
    ("armv7-unknown-linux-gnueabihf", &["armv7l", "armv8l"]),
    ("x86_64-unknown-linux-musl", &["x86_64"]),
];

/// Where `atb agent build` puts the agent for `triple` and the transports look for it.
///
/// # Errors
/// [`CacheError`] if there is no cache folder.
pub fn agent_path(triple: &str) -> Result<PathBuf, CacheError> {
    Ok(atb_files::cache_folder()?.join("agents").join(triple).join(AGENT))
}

/// The triple to build for on a machine that `uname -m` calls `machine`.
#[must_use]
pub fn triple_of(machine: &str) -> Option<&'static str> {
    let (triple, _) = TRIPLES.iter().find(|(_, machines)| machines.contains(&machine))?;
    Some(triple)
}

/// The agent's program for the device of `deployment`, which calls itself
/// `machine`.
///
/// # Errors
/// [`TargetError`] if it was not built, or was built for another kind of machine.
pub(crate) fn agent_for(deployment: &Deployment, machine: &str) -> Result<PathBuf, TargetError> {
    let path = match (&deployment.agent, &deployment.triple) {
        (Some(path), _) => path.clone(),
        (None, Some(triple)) => agent_path(triple)?,
        (None, None) => match triple_of(machine) {
            Some(triple) => agent_path(triple)?,
            None => {
                let (target, machine) = (deployment.target.clone(), machine.to_owned());
                return Err(TargetError::UnknownMachine { target, machine });
            }
        },
    };
    if deployment.agent.is_none() && !path.is_file() {
        let triple = deployment.triple.as_deref().or_else(|| triple_of(machine));
        return Err(TargetError::NoAgent {
            target: deployment.target.clone(),
            triple: triple.unwrap_or("the device").to_owned(),
            path,
        });
    }
    let built_for =
        elf_machine(&path).map_err(|cause| TargetError::Start { program: path.clone(), cause })?;
    // With a runner it is the runner that decides what it can run.
    if deployment.runner.is_empty() && !runs_on(built_for, machine) {
        return Err(TargetError::Machine {
            target: deployment.target.clone(),
            agent: path,
            built_for: built_for.to_owned(),
            machine: machine.to_owned(),
        });
    }
    Ok(path)
}

/// Whether a program for the processor `built_for` starts on `machine`. A 64 bit kernel
/// nearly always runs programs of its 32 bit predecessor.
fn runs_on(built_for: &str, machine: &str) -> bool {
    match built_for {
        "aarch64" => matches!(machine, "aarch64" | "arm64"),
        "arm" => matches!(machine, "armv7l" | "armv8l" | "aarch64" | "arm64"),
        "x86" => matches!(machine, "i686" | "x86_64"),
        _ => built_for == machine,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use miette::Diagnostic;

    use super::*;

    /// The head of a program for the processor of that ELF number.
    fn program(folder: &Path, number: u16) -> PathBuf {
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
        head.extend(number.to_le_bytes());
        let path = folder.join(format!("agent-{number}"));
        std::fs::write(&path, head).expect("writes");
        path
    }

    fn pi(agent: PathBuf) -> Deployment {
        Deployment { target: "pi".to_owned(), agent: Some(agent), ..Deployment::default() }
    }

    #[test]
    fn an_agent_for_another_processor_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let aarch64 = pi(program(folder.path(), 183));
        assert!(agent_for(&aarch64, "aarch64").is_ok());
        let error = agent_for(&aarch64, "armv7l").expect_err("64 bit on 32").to_string();
        assert!(error.contains("is built for aarch64, but `pi` is a machine of the kind armv7l"));
        let arm = pi(program(folder.path(), 40));
        assert!(agent_for(&arm, "armv7l").is_ok() && agent_for(&arm, "aarch64").is_ok());
        assert!(agent_for(&arm, "armv6l").is_err() && agent_for(&arm, "x86_64").is_err());
        let emulated = Deployment { runner: vec!["qemu-arm".to_owned()], ..arm };
        assert!(agent_for(&emulated, "x86_64").is_ok());
    }

    #[test]
    fn what_is_not_a_program_or_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("agent.sh");
        std::fs::write(&script, "#!/bin/sh\n").expect("writes");
        let error = agent_for(&pi(script), "aarch64").expect_err("a script").to_string();
        assert!(error.contains("agent.sh") && error.contains("not an ELF file"), "{error}");
        let unknown = Deployment { agent: None, ..pi(PathBuf::new()) };
        let error = agent_for(&unknown, "mips").expect_err("unknown");
        assert!(error.to_string().contains("mips"), "{error}");
        let help = error.help().expect("a remedy").to_string();
        assert!(help.contains("set `triple`"), "{help}");
    }
}
