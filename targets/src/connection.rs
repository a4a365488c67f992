//! A line-wise connection to a running agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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
    /// If the connection breaks, nothing comes for too long, or the line is not UTF-8.
    fn receive(&mut self) -> io::Result<Option<String>>;

    /// Ends the agent and says how it ended: its exit status and the last lines of its
    /// error output.
    fn end(&mut self) -> String;
}

/// Longest tail of the error output that is kept.
const ERROR_TAIL: usize = 4096;
/// How long an agent may take to end once its input has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a host and an agent that are far apart tell that the other is still there: the host
/// sends an empty line now and then, the agent answers it with one, even while it measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// How often the host sends one.
    pub interval: Duration,
    /// How long nothing may be heard; a multiple of the interval.
    pub limit: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), limit: Duration::from_secs(30) }
    }
}

/// What a remote shell prints right before our part of its output begins; whatever a login
/// shell prints before it is no concern of ours.
pub(crate) const MARKER: &str = "--- atb ---";

/// Where the agent at the other end of a process runs.
#[derive(Default)]
pub(crate) struct Manner {
    /// Whether a shell says [`MARKER`] before the agent begins.
    pub(crate) marker: bool,
    /// How to tell that the agent is still there, where the process does not end with it.
    pub(crate) pulse: Option<Pulse>,
    /// What keeps the way there open.
    pub(crate) keep: Option<Box<dyn Send>>,
}

type Input = Arc<Mutex<Option<ChildStdin>>>;
type Errors = Arc<Mutex<Vec<u8>>>;

/// A connection to a child process over its standard streams.
pub struct ProcessConnection {
    child: Child,
    input: Input,
    /// What comes from the agent; closed when it ends.
    lines: Receiver<io::Result<String>>,
    /// How long nothing may come.
    limit: Option<Duration>,
    errors: Errors,
    error_reader: Option<JoinHandle<()>>,
    _keep: Option<Box<dyn Send>>,
}

impl ProcessConnection {
    /// Starts `command` with its standard streams connected.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: Command) -> io::Result<Self> {
        Self::start(command, Manner::default())
    }

    /// As [`ProcessConnection::spawn`], for an agent that may be gone without its process:
    /// one that nothing is heard of is taken for gone.
    ///
    /// # Errors
    /// As [`ProcessConnection::spawn`].
    pub fn spawn_with(command: Command, pulse: Pulse) -> io::Result<Self> {
        Self::start(command, Manner { pulse: Some(pulse), ..Manner::default() })
    }

    pub(crate) fn start(mut command: Command, manner: Manner) -> io::Result<Self> {
        let Manner { marker, pulse, keep } = manner;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("the process has no standard streams");
        let input = Arc::new(Mutex::new(child.stdin.take()));
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let errors = Errors::default();
        let tail = Arc::clone(&errors);
        let error_reader = Some(thread::spawn(move || read_errors(stderr, &tail)));
        let (sender, lines) = channel();
        let last_words = Arc::clone(&errors);
        thread::spawn(move || read_lines(output, marker, &sender, &last_words));
        if let Some(pulse) = pulse {
            let input = Arc::downgrade(&input);
            thread::spawn(move || beat(&input, pulse.interval));
        }
        let limit = pulse.map(|pulse| pulse.limit);
        Ok(Self { child, input, lines, limit, errors, error_reader, _keep: keep })
    }
}

/// Keeps the end of what comes from `stderr`.
fn read_errors(mut stderr: impl Read, errors: &Errors) {
    let mut chunk = [0; 1024];
    while let Ok(length) = stderr.read(&mut chunk) {
        if length == 0 {
            return;
        }
        let mut tail = errors.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&chunk[..length]);
        let surplus = tail.len().saturating_sub(ERROR_TAIL);
        tail.drain(..surplus);
    }
}

/// Passes on what comes from `output`, line by line. What it says instead of the marker goes
/// to `errors`.
fn read_lines(
    mut output: impl BufRead,
    marker: bool,
    lines: &Sender<io::Result<String>>,
    errors: &Errors,
) {
    if marker {
        match skip_to_marker(&mut output) {
            Ok((_, true)) => {}
            Ok((said, false)) => {
                let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
                errors.extend_from_slice(said.as_bytes());
                return;
            }
            Err(error) => {
                // Nobody listens any more if this fails, here and below.
                let _ = lines.send(Err(error));
                return;
            }
        }
    }
    loop {
        let mut line = String::new();
        let read = output.read_line(&mut line);
        // A line without its end was cut off when the agent died.
        let cut_off = read.is_ok() && !line.ends_with('\n');
        let broken = read.is_err();
        if cut_off || lines.send(read.map(|_| line)).is_err() || broken {
            return;
        }
    }
}

/// Sends an empty line every `interval`, until the connection has ended.
fn beat(input: &Weak<Mutex<Option<ChildStdin>>>, interval: Duration) {
    loop {
        thread::sleep(interval);
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
        loop {
            let line = match self.limit {
                None => self.lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(limit) => self.lines.recv_timeout(limit),
            };
            match line {
                Ok(Ok(line)) if line.trim().is_empty() => {}
                Ok(line) => return line.map(|line| Some(line.trim_end().to_owned())),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = self.limit.unwrap_or_default().as_secs_f64();
                    let text = format!("nothing was heard of it for {seconds} s");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            }
        }
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

    fn command(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn shell(script: &str) -> ProcessConnection {
        ProcessConnection::spawn(command(script)).expect("sh starts")
    }

    /// A connection that expects a sign of life every half second.
    fn watched(script: &str) -> ProcessConnection {
        let (interval, limit) = (Duration::from_millis(50), Duration::from_millis(500));
        ProcessConnection::spawn_with(command(script), Pulse { interval, limit })
            .expect("sh starts")
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
    fn what_answers_the_pulse_may_take_its_time() {
        // Answers twenty empty lines, which takes twice as long as may pass in silence.
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do read line; \
                      echo \"$line\"; done; echo done";
        let mut connection = watched(script);
        let begin = Instant::now();
        assert_eq!(connection.receive().expect("there").as_deref(), Some("done"));
        assert!(begin.elapsed() > Duration::from_millis(500));
    }

    #[test]
    fn what_falls_silent_is_taken_for_gone() {
        let mut connection = watched("read line; echo \"$line\"; exec sleep 1000");
        let begin = Instant::now();
        let error = connection.receive().expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "nothing was heard of it for 0.5 s");
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }

    #[test]
    fn a_dropped_connection_leaves_nothing_running() {
        let connection = shell("exec sleep 1000");
        let id = connection.child.id();
        drop(connection);
        assert!(!std::path::Path::new(&format!("/proc/{id}/stat")).exists());
    }
}
