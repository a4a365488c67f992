//! Programs of this machine that carry what a device says: connections over their standard
//! streams, and commands that print an answer.

use std::io::{self, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use atb_settings::visible;

use crate::connection::Connection;
use crate::lines::{LINE_LIMIT, read_line};
use crate::marker::skip_to_marker;

/// Longest tail of the error output that is kept, in bytes.
const ERROR_TAIL: usize = 4096;
/// Longest answer of a command, in bytes.
const ANSWER_LIMIT: usize = 1 << 20;
/// Lines of an agent that wait for the host to take them: with [`LINE_LIMIT`] the most memory that
/// one can make it hold.
const QUEUE: usize = 2;
/// Empty lines that may come without having been asked for.
const SURPLUS: u64 = 1000;
/// How long a command may take, the agent's upload over a slow line included.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// How long an agent may take to end once its input has ended.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the output of a process may take to end once the process has; what keeps it open
/// is another process.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a process whose agent says nothing is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How a host and an agent that are far apart tell that the other is still there: the host
/// sends an empty line now and then, the agent answers it with one, even while it measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// How often the host sends one.
    pub interval: Duration,
    /// How long nothing may be heard; a multiple of the interval.
    pub timeout: Duration,
    /// How long an answer may take, although heartbeats are answered: longer than the slowest
    /// device takes for the largest model.
    pub answer: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { interval: seconds(5), timeout: seconds(30), answer: seconds(6 * 60 * 60) }
    }
}

/// Where the agent at the other end of a process runs.
#[derive(Default)]
pub(crate) struct ProcessOptions {
    /// Whether a shell prints its marker before the agent begins.
    pub(crate) marker: bool,
    /// How to tell that the agent is still there, where the process does not end with it.
    pub(crate) heartbeat: Option<Heartbeat>,
    /// What keeps the way there open.
    pub(crate) keep: Option<Box<dyn Send>>,
}

type Input = Arc<Mutex<Option<ChildStdin>>>;

/// The end of what a process says on its error output.
struct ErrorTail {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Closed when the error output has ended.
    ended: Receiver<()>,
}

impl ErrorTail {
    fn of(mut stderr: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = channel::<()>();
        let tail = Arc::clone(&bytes);
        thread::spawn(move || {
            let _sender = sender;
            let mut chunk = [0; 1024];
            while let Ok(length) = stderr.read(&mut chunk) {
                if length == 0 {
                    return;
                }
                add_to_tail(&tail, &chunk[..length]);
            }
        });
        Self { bytes, ended }
    }

    /// What was said, once the process has ended. Another process that keeps the error output
    /// open is not waited for.
    fn take(&self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(OUTPUT_TIMEOUT);
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn add_to_tail(tail: &Mutex<Vec<u8>>, bytes: &[u8]) {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.extend_from_slice(bytes);
    let surplus = tail.len().saturating_sub(ERROR_TAIL);
    tail.drain(..surplus);
}

/// Runs `command` to its end; what it prints and the time that it takes are bounded, and of its
/// error output the end is kept.
pub(crate) fn output_of(command: Command, stdin: Stdio) -> io::Result<Output> {
    output_within(command, stdin, COMMAND_TIMEOUT)
}

fn output_within(mut command: Command, stdin: Stdio, limit: Duration) -> io::Result<Output> {
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let result = wait_within(&mut child, limit);
    if result.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn wait_within(child: &mut Child, limit: Duration) -> io::Result<Output> {
    let begin = Instant::now();
    let too_slow = || {
        let text = format!("it had not ended after {} s", limit.as_secs_f64());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    let errors = child.stderr.take().map(ErrorTail::of);
    let (sender, answer) = channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            let mut stdout = Vec::new();
            let read = output.take(ANSWER_LIMIT as u64 + 1).read_to_end(&mut stdout);
            // Nobody listens any more if it took too long.
            let _ = sender.send(read.map(|_| stdout));
        });
    }
    let stdout = answer.recv_timeout(limit).map_err(|_| too_slow())??;
    if stdout.len() > ANSWER_LIMIT {
        let text = format!("it printed more than {ANSWER_LIMIT} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begin.elapsed() >= limit => return Err(too_slow()),
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    let stderr = errors.map(|errors| errors.take()).unwrap_or_default();
    Ok(Output { status, stdout, stderr })
}

/// A connection to a child process over its standard streams.
pub struct ProcessConnection {
    child: Child,
    input: Input,
    /// What comes from the agent; closed when it ends.
    lines: Receiver<io::Result<String>>,
    /// How long nothing, and no answer, may come.
    heartbeat: Option<Heartbeat>,
    /// Empty lines that were sent, and that came.
    sent: Arc<AtomicU64>,
    came: u64,
    errors: ErrorTail,
    _keep: Option<Box<dyn Send>>,
}

impl ProcessConnection {
    /// Starts `command` with its standard streams connected.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: Command) -> io::Result<Self> {
        Self::start(command, ProcessOptions::default())
    }

    /// As [`ProcessConnection::spawn`], for an agent that may be gone without its process:
    /// one that nothing is heard of is taken for gone.
    ///
    /// # Errors
    /// As [`ProcessConnection::spawn`].
    pub fn spawn_with(command: Command, heartbeat: Heartbeat) -> io::Result<Self> {
        let heartbeat = Some(heartbeat);
        Self::start(command, ProcessOptions { heartbeat, ..ProcessOptions::default() })
    }

    pub(crate) fn start(mut command: Command, options: ProcessOptions) -> io::Result<Self> {
        let ProcessOptions { marker, heartbeat, keep } = options;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("the process has no standard streams");
        let input = Arc::new(Mutex::new(child.stdin.take()));
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let errors = ErrorTail::of(child.stderr.take().ok_or_else(missing)?);
        // Bounded: an agent that says more than it was asked for has to wait.
        let (sender, lines) = sync_channel(QUEUE);
        let tail = Arc::clone(&errors.bytes);
        let sent = Arc::new(AtomicU64::new(0));
        thread::spawn(move || read_lines(output, marker, &sender, &tail));
        if let Some(heartbeat) = heartbeat {
            let (input, sent) = (Arc::downgrade(&input), Arc::clone(&sent));
            thread::spawn(move || send_heartbeats(&input, &sent, heartbeat.interval));
        }
        Ok(Self { child, input, lines, heartbeat, sent, came: 0, errors, _keep: keep })
    }

    /// Whether the process has ended.
    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// Passes on what comes from `output`, line by line. What it says instead of the marker goes
/// to `errors`.
fn read_lines(
    mut output: BufReader<impl Read>,
    marker: bool,
    lines: &SyncSender<io::Result<String>>,
    errors: &Mutex<Vec<u8>>,
) {
    if marker {
        match skip_to_marker(&mut output) {
            Ok((_, true)) => {}
            Ok((said, false)) => return add_to_tail(errors, said.as_bytes()),
            Err(error) => {
                // Nobody listens any more if this fails, here and below.
                let _ = lines.send(Err(error));
                return;
            }
        }
    }
    loop {
        let read = read_line(&mut output, LINE_LIMIT);
        // A line without its end was cut off when the agent died.
        let cut_off = read.as_ref().is_ok_and(|line| !line.ends_with('\n'));
        let broken = read.is_err();
        if cut_off || lines.send(read).is_err() || broken {
            return;
        }
    }
}

/// Sends an empty line every `interval` and counts it, until the connection has ended.
fn send_heartbeats(input: &Weak<Mutex<Option<ChildStdin>>>, sent: &AtomicU64, interval: Duration) {
    loop {
        thread::sleep(interval);
        let Some(input) = input.upgrade() else { return };
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = input.as_mut() else { return };
        sent.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(b"\n").and_then(|()| stream.flush()).is_err() {
            return;
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
        let too_long = |text: &str, limit: Duration| {
            let text = format!("{text} for {} s", limit.as_secs_f64());
            io::Error::new(io::ErrorKind::TimedOut, text)
        };
        // Of the time in which this process was stopped, or the machine asleep, next to nothing
        // counts: nothing could be heard.
        let (mut waited, mut silent) = (Duration::ZERO, Duration::ZERO);
        let mut ended = false;
        loop {
            let mut wait = POLL_INTERVAL;
            if let Some(Heartbeat { timeout, answer, .. }) = self.heartbeat {
                if waited >= answer {
                    return Err(too_long("it has not answered", answer));
                }
                wait = wait.min(timeout.saturating_sub(silent));
            }
            let begin = Instant::now();
            let received = self.lines.recv_timeout(wait);
            let step = begin.elapsed().min(2 * POLL_INTERVAL);
            waited += step;
            silent += step;
            match received {
                Ok(Ok(line)) if line.trim().is_empty() => {
                    silent = Duration::ZERO;
                    self.came += 1;
                    if self.came > self.sent.load(Ordering::Relaxed) + SURPLUS {
                        let text = "it sends empty lines that nobody asked for";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                }
                Ok(line) => return line.map(|line| Some(line.trim_end().to_owned())),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                // Its output is still open, but nothing came for a whole interval after it
                // had ended: it is another process that keeps it open.
                Err(RecvTimeoutError::Timeout) if ended => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(Heartbeat { timeout, .. }) = self.heartbeat
                        && silent >= timeout
                    {
                        return Err(too_long("nothing was heard of it", timeout));
                    }
                    ended = self.has_ended();
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
                Ok(None) if begin.elapsed() < EXIT_TIMEOUT => {
                    thread::sleep(Duration::from_millis(5));
                }
                _ => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break "killed, it did not end by itself".to_owned();
                }
            }
        };
        let errors = self.errors.take();
        match String::from_utf8_lossy(&errors).trim() {
            "" => status,
            text => format!("{status}; {}", visible(text)),
        }
    }
}

impl Drop for ProcessConnection {
    fn drop(&mut self) {
        // A host that gives up does not leave its agent running.
        if !self.has_ended() {
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

    /// A connection that expects to hear something every half second.
    fn watched(script: &str) -> ProcessConnection {
        let [interval, timeout, answer] = [50, 500, 2000].map(Duration::from_millis);
        ProcessConnection::spawn_with(command(script), Heartbeat { interval, timeout, answer })
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
    fn what_answers_heartbeats_may_take_its_time() {
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
    fn what_answers_nothing_but_heartbeats_is_given_up() {
        let mut connection = watched("while read line; do echo; done");
        let begin = Instant::now();
        let error = connection.receive().expect_err("no answer").to_string();
        assert_eq!(error, "it has not answered for 2 s");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }

    #[test]
    fn a_flood_of_empty_lines_is_an_error() {
        let mut connection = watched("yes ''");
        let error = connection.receive().expect_err("a flood").to_string();
        assert_eq!(error, "it sends empty lines that nobody asked for");
    }

    #[test]
    fn a_flood_of_lines_waits_until_the_agent_is_ended() {
        let mut connection = watched("yes flood");
        for _ in 0..1000 {
            assert_eq!(connection.receive().expect("lines").as_deref(), Some("flood"));
        }
        let begin = Instant::now();
        connection.end();
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }

    #[test]
    fn a_command_that_does_not_end_is_given_up() {
        let limit = Duration::from_millis(200);
        for script in ["exec sleep 1000", "exec sleep 1000 >&-", "sleep 5 & exec sleep 1000"] {
            let begin = Instant::now();
            let error = output_within(command(script), Stdio::null(), limit).expect_err("silent");
            assert_eq!(error.to_string(), "it had not ended after 0.2 s", "{script}");
            assert!(begin.elapsed() < Duration::from_secs(4), "{script}: {:?}", begin.elapsed());
        }
    }

    #[test]
    fn a_dropped_connection_leaves_nothing_running() {
        let connection = shell("exec sleep 1000");
        let id = connection.child.id();
        drop(connection);
        assert!(!std::path::Path::new(&format!("/proc/{id}/stat")).exists());
    }

    #[test]
    fn a_child_that_keeps_the_streams_open_does_not_hang_the_host() {
        // The agent ends, what it has started goes on with its standard streams.
        let mut connection = shell("echo 'no memory' >&2; sleep 20 & exit 3");
        let begin = Instant::now();
        assert_eq!(connection.receive().expect("ended"), None);
        assert_eq!(connection.end(), "exit status: 3; no memory");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }

    #[test]
    fn escape_codes_in_the_error_output_are_shown() {
        let mut connection = shell("printf '\\033]0;title\\007gone' >&2; exit 1");
        assert_eq!(connection.receive().expect("ended"), None);
        assert_eq!(connection.end(), "exit status: 1; \\u{1b}]0;title\\u{7}gone");
    }

    #[test]
    fn an_answer_without_an_end_is_an_error() {
        let error = output_of(command("exec cat /dev/zero"), Stdio::null()).expect_err("endless");
        assert!(error.to_string().contains("printed more than"), "{error}");
    }
}
