//! Devices at the other end of a shell: one way to push, pull and start the agent, whatever
//! carries the shell.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

use crate::agents::{AGENT, agent_for};
use crate::connection::{MARKER, Manner, ProcessConnection, Pulse};
use crate::{Connection, Device, Target, TargetError};

/// What keeps a shell from doing as asked.
pub(crate) enum Trouble {
    /// The transport's program could not be started.
    Program(io::Error),
    /// The device does not answer; what the transport says.
    Unreachable(String),
    /// The device, or this machine's file, refuses; in its words.
    Refused(String),
}

/// A POSIX shell on a device.
pub(crate) trait Shell: Send + Sync {
    /// The name of the program behind it, and how to get it.
    const PROGRAM: (&'static str, &'static str);

    /// A command of this machine that runs `script` there, with the standard streams of both
    /// connected.
    fn command(&self, script: &str) -> Result<Command, Trouble>;

    /// Writes the file `local` to `path` there; after trouble a part of it may be left.
    fn upload(&self, local: &Path, path: &str) -> Result<(), Trouble>;

    /// Writes the file `path` of the device to `local`.
    fn download(&self, path: &str, local: &Path) -> Result<(), Trouble>;

    /// What to do when the device does not answer and the transport says `cause`.
    fn remedy(&self, cause: &str) -> String;

    /// What keeps the transport's own connection open, for as long as a process uses it.
    fn keep_alive(&self) -> Box<dyn Send>;
}

/// A device with a shell.
pub(crate) struct Remote<S> {
    target: Target,
    shell: S,
    machine: String,
    /// Absolute path of the folder that everything of ours lies in.
    folder: String,
}

impl<S: Shell> Remote<S> {
    /// Reaches the device and makes the folder.
    pub(crate) fn open(target: &Target, shell: S) -> Result<Self, TargetError> {
        let mut remote = Self {
            target: target.clone(),
            shell,
            machine: String::new(),
            folder: target.folder.clone(),
        };
        let folder = path_in_script(&target.folder);
        let script = format!("mkdir -p {folder} && cd {folder} && pwd && uname -m");
        let answer = remote.run("make its folder", &script)?;
        let mut lines = answer.lines().map(str::trim);
        let (folder, machine) = (lines.next().unwrap_or_default(), lines.next());
        remote.folder = folder.to_owned();
        remote.machine = machine.unwrap_or_default().to_owned();
        if !remote.folder.starts_with('/') || remote.machine.is_empty() {
            let answer = format!("it says `{}`", answer.trim());
            return Err(remote.error("say what it is", Trouble::Refused(answer)));
        }
        Ok(remote)
    }

    /// What `script` prints, if it succeeds.
    fn run(&self, task: &str, script: &str) -> Result<String, TargetError> {
        let command = self.shell.command(&marked(script));
        let output = command.and_then(|mut command| command.output().map_err(Trouble::Program));
        let output = output.map_err(|trouble| self.error(task, trouble))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(answer) = after_marker(&text) else {
            // The script never began.
            let said = excerpt(&output.stdout);
            let trouble = match said.is_empty() || !output.stderr.is_empty() {
                true => words(&output),
                false => format!("{}; it printed `{said}`", output.status),
            };
            return Err(self.error(task, Trouble::Unreachable(trouble)));
        };
        if output.status.success() {
            return Ok(answer.to_owned());
        }
        Err(self.error(task, Trouble::Refused(words(&output))))
    }

    fn error(&self, task: &str, trouble: Trouble) -> TargetError {
        match trouble {
            Trouble::Program(source) => {
                let (program, hint) = S::PROGRAM;
                TargetError::Program { program: program.to_owned(), source, hint: hint.to_owned() }
            }
            Trouble::Unreachable(cause) => {
                let hint = self.shell.remedy(&cause);
                TargetError::Unreachable { target: self.target.name.clone(), cause, hint }
            }
            Trouble::Refused(cause) => {
                let full = ["No space left", "Disk quota exceeded"];
                let hint = match full.iter().any(|text| cause.contains(text)) {
                    true => {
                        "; hint: free some space there, or name another `folder` in the target file"
                    }
                    false => "",
                };
                TargetError::Failed {
                    target: self.target.name.clone(),
                    task: task.to_owned(),
                    cause,
                    hint: hint.to_owned(),
                }
            }
        }
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

impl<S: Shell> Device for Remote<S> {
    fn machine(&self) -> &str {
        &self.machine
    }

    fn connect(&self) -> Result<Box<dyn Connection>, TargetError> {
        let agent = agent_for(&self.target, &self.machine)?;
        let program = self.push(&agent, AGENT)?;
        let mut script = format!("cd {} && ", quote(&self.folder));
        for (name, value) in &self.target.environment {
            script.push_str(&format!("export {name}={}; ", quote(value)));
        }
        // A backtrace at every error that the runtime recovers from costs more than building
        // the model does.
        script.push_str("unset RUST_BACKTRACE; exec");
        for word in self.target.runner.iter().chain([&program]) {
            script.push(' ');
            script.push_str(&quote(word));
        }
        // The agent's patience with the host is that of the host with the agent.
        let pulse = Pulse::default();
        script.push_str(&format!(" --silence {}", pulse.limit.as_secs()));
        let keep = Some(self.shell.keep_alive());
        let manner = Manner { marker: true, pulse: Some(pulse), keep };
        let command = self.shell.command(&marked(&script));
        let started = command.and_then(|command| {
            ProcessConnection::start(command, manner).map_err(Trouble::Program)
        });
        Ok(Box::new(started.map_err(|trouble| self.error("start the agent", trouble))?))
    }

    fn push(&self, local: &Path, name: &str) -> Result<String, TargetError> {
        let digest = atb_files::digest_of_file(local).map_err(TargetError::io(local))?;
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
        uploaded.map_err(|trouble| self.error(&task, trouble))?;
        published.map(|_| path)
    }

    fn pull(&self, path: &str, local: &Path) -> Result<(), TargetError> {
        // Under its own name only once it is whole.
        let part = tempfile::Builder::new()
            .prefix(".pulling-")
            .tempfile_in(atb_files::folder_of(local))
            .map_err(TargetError::io(local))?;
        self.shell
            .download(path, part.path())
            .map_err(|trouble| self.error(&format!("give {path}"), trouble))?;
        part.persist(local).map(drop).map_err(|error| TargetError::io(local)(error.error))
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

/// `script` behind the marker. The empty line ends what a greeting may have left open.
pub(crate) fn marked(script: &str) -> String {
    format!("echo; echo '{MARKER}'; {script}")
}

/// What stands behind the marker's line.
fn after_marker(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(MARKER)?;
    Some(rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest))
}

/// `text` as one word of a POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path as one word of a POSIX shell, with a leading `~/` left to the shell.
fn path_in_script(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("\"$HOME\"/{}", quote(rest)),
        None => quote(path),
    }
}

/// How a command ended, in its own words if it has any.
pub(crate) fn words(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.trim().is_empty() { output.status.to_string() } else { errors.trim().to_owned() }
}

/// The last line of what a device printed.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim().lines().next_back().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["plain", "two words", "it's", "$HOME `id` \"x\" \\", ""] {
            let script = format!("printf %s {}", quote(word));
            let output = Command::new("sh").args(["-c", &script]).output().expect("sh starts");
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
        assert_eq!(path_in_script("~/a b"), "\"$HOME\"/'a b'");
    }

    #[test]
    fn a_greeting_is_told_from_the_answer() {
        let output = Command::new("sh")
            .args(["-c", &format!("printf 'Welcome! '; {}", marked("echo yes"))])
            .output()
            .expect("sh starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(after_marker(&text), Some("yes\n"));
        assert_eq!(after_marker("This account is not available.\n"), None);
    }
}
