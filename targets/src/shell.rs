//! A POSIX shell on a device, whatever carries it.

use std::io::{self, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use atb_settings::visible;

use crate::marker::{marked, skip_to_marker};
use crate::process::output_of;

/// What keeps a shell from doing as asked.
pub(crate) enum ShellError {
    /// The transport's program could not be started.
    Program(io::Error),
    /// The device does not answer; what the transport says.
    Unreachable(String),
    /// The device, or this machine's file, refuses; in its words.
    Refused(String),
}

impl ShellError {
    /// For `map_err`: what a command that was run came to without an end of its own.
    pub(crate) fn of_command(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::TimedOut => Self::refused(error),
            _ => Self::Program(error),
        }
    }

    /// For `map_err`: something of this machine refuses.
    pub(crate) fn refused(error: impl ToString) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A POSIX shell on a device.
pub(crate) trait Shell: Send + Sync {
    /// The program that carries it.
    fn program(&self) -> &str;

    /// How to get the program.
    fn how_to_install(&self) -> String;

    /// A command of this machine that runs `script` there, with the standard streams of both
    /// connected.
    fn command(&self, script: &str) -> Result<Command, ShellError>;

    /// What to do when the device does not answer and the transport says `cause`.
    fn remedy(&self, cause: &str) -> String;

    /// What keeps the transport's own connection open, for as long as a process uses it.
    fn keep_alive(&self) -> Box<dyn Send>;

    /// Writes the file `local` to `path` there; after an error a part of it may be left.
    fn upload(&self, local: &Path, path: &str) -> Result<(), ShellError> {
        let file = fs_err::File::open(local).map_err(ShellError::refused)?;
        let command = self.command(&format!("cat >{}", quote(path)))?;
        let output = output_of(command, file.into_parts().0.into());
        succeeded(&output.map_err(ShellError::of_command)?)
    }

    /// Writes the file `path` of the device to `local`.
    fn download(&self, path: &str, local: &Path) -> Result<(), ShellError> {
        let mut file = fs_err::File::create(local).map_err(ShellError::refused)?;
        let mut command = self.command(&marked(&format!("cat <{}", quote(path))))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(ShellError::Program)?;
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            skip_to_marker(&mut stdout).map_err(ShellError::refused)?;
            io::copy(&mut stdout, &mut file).map_err(ShellError::refused)?;
        }
        succeeded(&child.wait_with_output().map_err(ShellError::refused)?)
    }
}

/// That a command ended well.
pub(crate) fn succeeded(output: &Output) -> Result<(), ShellError> {
    output.status.success().then_some(()).ok_or_else(|| ShellError::Refused(words(output)))
}

/// `text` as one word of a POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path as one word of a POSIX shell, with a leading `~/` left to the shell.
pub(crate) fn path_in_script(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("\"$HOME\"/{}", quote(rest)),
        None => quote(path),
    }
}

/// How a command ended, in its own words if it has any.
pub(crate) fn words(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    match errors.trim() {
        "" => output.status.to_string(),
        errors => visible(errors),
    }
}

/// The last line of what a device printed.
pub(crate) fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    visible(text.trim().lines().next_back().unwrap_or_default())
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
}
