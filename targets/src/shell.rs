//! A POSIX shell on a device, whatever carries it.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::process::output_of;
use crate::visible::visible;

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
        succeeded(&output_of(command, file.into_parts().0.into()).map_err(ShellError::Program)?)
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

/// What a remote shell prints right before our part of its output begins; whatever a login
/// shell prints before it is no concern of ours.
const MARKER: &str = "--- atb ---";

/// `script` behind the marker. The empty line ends what a greeting may have left open.
pub(crate) fn marked(script: &str) -> String {
    format!("echo; echo '{MARKER}'; {script}")
}

/// Most that may stand before the marker, in bytes.
const GREETING_LIMIT: u64 = 1 << 20;

/// Reads up to and including the marker's line; gives the last line before it, and whether
/// the marker came at all.
///
/// # Errors
/// If the greeting does not come to an end.
pub(crate) fn skip_to_marker(output: &mut impl BufRead) -> io::Result<(String, bool)> {
    let mut last = String::new();
    let mut line = Vec::new();
    let mut left = GREETING_LIMIT;
    loop {
        line.clear();
        let length = output.by_ref().take(left).read_until(b'\n', &mut line)? as u64;
        left -= length;
        if left == 0 {
            let text =
                format!("it printed more than {GREETING_LIMIT} bytes before the agent began");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if length == 0 {
            return Ok((last, false));
        }
        let text = String::from_utf8_lossy(&line);
        match text.trim() {
            MARKER => return Ok((last, true)),
            "" => {}
            text => text.clone_into(&mut last),
        }
    }
}

/// What stands behind the marker's line.
pub(crate) fn after_marker(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(MARKER)?;
    Some(rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest))
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

    #[test]
    fn a_greeting_without_an_end_is_an_error() {
        let mut endless = BufReader::new(io::repeat(b'x'));
        let error = skip_to_marker(&mut endless).expect_err("endless").to_string();
        assert!(error.contains("before the agent began"), "{error}");
        let mut endless = BufReader::new(io::repeat(b'\n'));
        assert!(skip_to_marker(&mut endless).is_err());
    }
}
