//! A line-wise connection to a running agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A running agent at the other end of a line-wise connection.
pub trait Connection: Send {
    /// Sends one line.
    ///
    /// # Errors
    /// If the agent no longer listens.
    fn send(&mut self, line: &str) -> io::Result<()>;

    /// Waits for the next line; `None` once the agent has ended.
    ///
    /// # Errors
    /// If the connection breaks or the line is not UTF-8.
    fn receive(&mut self) -> io::Result<Option<String>>;

    /// Ends the agent and says how it ended: its exit status and the last lines of its
    /// error output.
    fn end(&mut self) -> String;
}

/// Longest tail of the error output that is kept.
const ERROR_TAIL: usize = 4096;
/// How long an agent may take to end once its input has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the agent hears from the host, so that it can tell a silent host from one that
/// is gone. An empty line is no request.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// What a remote shell prints right before our part of its output begins; whatever a login
/// shell prints before it is no concern of ours.
pub(crate) const MARKER: &str = "--- atb ---";

/// Where the agent at the other end of a process runs.
pub(crate) enum Manner {
    /// It is the process.
    Here,
    /// On a device, behind a shell that says [`MARKER`] first.
    Remote {
        /// What keeps the way there open.
        keep: Box<dyn Send>,
    },
}

type Input = Arc<Mutex<Option<ChildStdin>>>;

/// A connection to a child process over its standard streams.
pub struct ProcessConnection {
    child: Child,
    input: Input,
    output: BufReader<ChildStdout>,
    /// Whether the marker is still to come.
    expects_marker: bool,
    errors: Arc<Mutex<Vec<u8>>>,
    error_reader: Option<JoinHandle<()>>,
    _keep: Option<Box<dyn Send>>,
}

impl ProcessConnection {
    /// Starts `command` with its standard streams connected.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: Command) -> io::Result<Self> {
        Self::start(command, Manner::Here)
    }

    pub(crate) fn start(mut command: Command, manner: Manner) -> io::Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("the process has no standard streams");
        let input = Arc::new(Mutex::new(child.stdin.take()));
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut stderr = child.stderr.take().ok_or_else(missing)?;
        let errors = Arc::new(Mutex::new(Vec::new()));
        let tail = Arc::clone(&errors);
        let error_reader = thread::spawn(move || {
            let mut chunk = [0; 1024];
            while let Ok(length) = stderr.read(&mut chunk) {
                if length == 0 {
                    break;
                }
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                tail.extend_from_slice(&chunk[..length]);
                let surplus = tail.len().saturating_sub(ERROR_TAIL);
                tail.drain(..surplus);
            }
        });
        let (expects_marker, keep) = match manner {
            Manner::Here => (false, None),
            Manner::Remote { keep } => {
                let input = Arc::downgrade(&input);
                thread::spawn(move || beat(&input));
                (true, Some(keep))
            }
        };
        let error_reader = Some(error_reader);
        Ok(Self { child, input, output, expects_marker, errors, error_reader, _keep: keep })
    }
}

/// Sends an empty line now and then, until the connection has ended.
fn beat(input: &Weak<Mutex<Option<ChildStdin>>>) {
    loop {
        thread::sleep(HEARTBEAT);
        let Some(input) = input.upgrade() else { return };
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = input.as_mut() else { return };
        if stream.write_all(b"\n").and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// Reads up to and including the marker's line; gives the last line before it, and whether
/// the marker came at all.
pub(crate) fn skip_to_marker(output: &mut impl BufRead) -> io::Result<(String, bool)> {
    let mut last = String::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if output.read_until(b'\n', &mut line)? == 0 {
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

impl Connection for ProcessConnection {
    fn send(&mut self, line: &str) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{line}\n").as_bytes())?;
        input.flush()
    }

    fn receive(&mut self) -> io::Result<Option<String>> {
        if self.expects_marker {
            self.expects_marker = false;
            if let (said, false) = skip_to_marker(&mut self.output)? {
                let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
                errors.extend_from_slice(said.as_bytes());
                return Ok(None);
            }
        }
        let mut line = String::new();
        let length = self.output.read_line(&mut line)?;
        // A line without its end was cut off when the agent died.
        Ok((length > 0 && line.ends_with('\n')).then(|| line.trim_end().to_owned()))
    }

    fn end(&mut self) -> String {
        drop(self.input.lock().unwrap_or_else(PoisonError::into_inner).take());
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) if begin.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                _ => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break "killed, it did not end by itself".to_owned();
                }
            }
        };
        if let Some(reader) = self.error_reader.take() {
            let _ = reader.join();
        }
        let tail = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail);
        if text.trim().is_empty() { status } else { format!("{status}; {}", text.trim()) }
    }
}

impl Drop for ProcessConnection {
    fn drop(&mut self) {
        // A host that gives up does not leave its agent running.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> ProcessConnection {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        ProcessConnection::spawn(command).expect("sh starts")
    }

    #[test]
    fn lines_go_there_and_back() {
        let mut connection = shell("while read line; do echo \"got $line\"; done");
        connection.send("one").expect("listens");
        assert_eq!(connection.receive().expect("answers").as_deref(), Some("got one"));
        assert_eq!(connection.end(), "exit status: 0");
    }

    #[test]
    fn a_death_is_reported_with_its_last_words() {
        let mut connection = shell("echo 'half a li' | tr -d '\\n'; echo 'no memory' >&2; exit 3");
        assert_eq!(connection.receive().expect("readable"), None);
        assert_eq!(connection.end(), "exit status: 3; no memory");
    }

    #[test]
    fn a_dropped_connection_leaves_nothing_running() {
        let connection = shell("exec sleep 1000");
        let id = connection.child.id();
        drop(connection);
        assert!(!std::path::Path::new(&format!("/proc/{id}/stat")).exists());
    }
}
