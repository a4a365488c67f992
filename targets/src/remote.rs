//! Devices at the other end of a shell: one way to push, pull and start the agent, whatever
//! carries the shell.

use std::path::Path;
use std::process::Stdio;

use atb_settings::{has_control_characters, visible};

use crate::agents::{AGENT, agent_for};
use crate::connection::Connection;
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::marker::{after_marker, marked};
use crate::process::{Heartbeat, ProcessConnection, ProcessOptions, output_of};
use crate::shell::{Shell, ShellError, last_line, path_in_script, quote, words};

/// A device with a shell.
pub(crate) struct Remote<S> {
    deployment: Deployment,
    shell: S,
    machine: String,
    /// Absolute path of the folder that everything of ours lies in.
    folder: String,
}

impl<S: Shell> Remote<S> {
    /// Reaches the device and makes the folder.
    pub(crate) fn open(deployment: &Deployment, shell: S) -> Result<Self, TargetError> {
        let mut remote = Self {
            deployment: deployment.clone(),
            shell,
            machine: String::new(),
            folder: deployment.folder.clone(),
        };
        let folder = path_in_script(&deployment.folder);
        let script = format!("mkdir -p {folder} && cd {folder} && pwd && uname -m");
        let answer = remote.run("make its folder", &script)?;
        let mut lines = answer.lines().map(str::trim);
        let (folder, machine) = (lines.next().unwrap_or_default(), lines.next());
        remote.folder = folder.to_owned();
        remote.machine = machine.unwrap_or_default().to_owned();
        if !folder.starts_with('/')
            || has_control_characters(folder)
            || !is_machine(&remote.machine)
        {
            let answer = format!("it says `{}`", visible(answer.trim()));
            return Err(remote.error("say what it is", ShellError::Refused(answer)));
        }
        Ok(remote)
    }

    /// What `script` prints, if it succeeds.
    fn run(&self, task: &str, script: &str) -> Result<String, TargetError> {
        let command = self.shell.command(&marked(script));
        let output = command
            .and_then(|command| output_of(command, Stdio::null()).map_err(ShellError::of_command));
        let output = output.map_err(|error| self.error(task, error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(answer) = after_marker(&text) else {
            // The script never began.
            let said = last_line(&output.stdout);
            let cause = match said.is_empty() || !output.stderr.is_empty() {
                true => words(&output),
                false => format!("{}; it printed `{said}`", output.status),
            };
            return Err(self.error(task, ShellError::Unreachable(cause)));
        };
        if output.status.success() {
            return Ok(answer.to_owned());
        }
        Err(self.error(task, ShellError::Refused(words(&output))))
    }

    fn error(&self, task: &str, error: ShellError) -> TargetError {
        let target = self.deployment.target.clone();
        match error {
            ShellError::Program(cause) => TargetError::Program {
                program: self.shell.program().to_owned(),
                cause,
                help: self.shell.how_to_install(),
            },
            ShellError::Unreachable(cause) => {
                let help = self.shell.remedy(&cause);
                TargetError::Unreachable { target, cause, help }
            }
            ShellError::Refused(cause) => {
                let full = ["No space left", "Disk quota exceeded"];
                let help = full.iter().any(|text| cause.contains(text)).then(|| {
                    "free some space there, or name another `folder` in the target file".to_owned()
                });
                TargetError::Failed { target, task: task.to_owned(), cause, help }
            }
        }
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

/// Whether this may be what `uname -m` prints.
fn is_machine(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

impl<S: Shell> Device for Remote<S> {
    fn machine(&self) -> &str {
        &self.machine
    }

    fn connect(&self) -> Result<Box<dyn Connection>, TargetError> {
        let agent = agent_for(&self.deployment, &self.machine)?;
        let program = self.push(&agent, AGENT)?;
        let mut script = format!("cd {} && ", quote(&self.folder));
        for (name, value) in &self.deployment.environment {
            script.push_str(&format!("export {name}={}; ", quote(value)));
        }
        // A backtrace at every error that the runtime recovers from costs more than building
        // the model does.
        script.push_str("unset RUST_BACKTRACE; exec");
        for word in self.deployment.runner.iter().chain([&program]) {
            script.push(' ');
            script.push_str(&quote(word));
        }
        // The agent waits for the host as long as the host does for the agent.
        let heartbeat = Heartbeat::default();
        script.push_str(&format!(" --silence {}", heartbeat.timeout.as_secs()));
        let keep = Some(self.shell.keep_alive());
        let options = ProcessOptions { marker: true, heartbeat: Some(heartbeat), keep };
        let command = self.shell.command(&marked(&script));
        let started = command.and_then(|command| {
            ProcessConnection::start(command, options).map_err(ShellError::Program)
        });
        Ok(Box::new(started.map_err(|error| self.error("start the agent", error))?))
    }

    fn push(&self, local: &Path, name: &str) -> Result<String, TargetError> {
        let digest = atb_files::digest_of_file(local)?;
        let path = self.path_of(name);
        let is_there = format!(
            "command -v sha256sum >/dev/null || {{ echo 'it has no sha256sum' >&2; exit 1; }}; \
             [ -f {path} ] && sha256sum <{path} || true",
            path = quote(&path)
        );
        let there = self.run(&format!("look for {name}"), &is_there)?;
        if there.split_whitespace().next() == Some(digest.as_str()) {
            return Ok(path);
        }
        // Under its own name only once it is whole; the process number keeps two hosts apart.
        let part = format!("{path}.part-{}", std::process::id());
        let task = format!("take {name}");
        let uploaded = self.shell.upload(local, &part);
        let publish = format!(
            "if [ \"$(sha256sum <{part} | cut -d ' ' -f 1)\" = {digest} ]; then chmod 755 {part} \
             && mv -f {part} {path}; else rm -f {part}; echo 'it arrived damaged' >&2; exit 1; fi",
            part = quote(&part),
            path = quote(&path)
        );
        let published = self.run(&task, &publish);
        uploaded.map_err(|error| self.error(&task, error))?;
        published.map(|_| path)
    }

    fn pull(&self, path: &str, local: &Path) -> Result<(), TargetError> {
        // Under its own name only once it is whole.
        let part = tempfile::Builder::new()
            .prefix(".pulling-")
            .tempfile_in(atb_files::folder_of(local))?;
        self.shell
            .download(path, part.path())
            .map_err(|error| self.error(&format!("give {path}"), error))?;
        Ok(part.persist(local).map(drop).map_err(std::io::Error::from)?)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        let script = format!("rm -f {}", quote(&self.path_of(name)));
        self.run(&format!("remove {name}"), &script).map(drop)
    }

    fn clean_up(&self) -> Result<(), TargetError> {
        let script = format!("rm -rf {}", quote(&self.folder));
        self.run("remove its folder", &script).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_one_word() {
        assert!(is_machine("aarch64") && is_machine("armv7l") && is_machine("x86_64"));
        assert!(!is_machine("") && !is_machine("a b") && !is_machine("\u{1b}[2J"));
        assert!(!is_machine("../../etc") && !is_machine(&"x".repeat(65)));
    }
}
