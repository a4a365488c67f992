//! The request loop.

use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use atb_measurements::{Protocol, Request, Response, Role, Subject};
use atb_space::{Architecture, Precision};

use crate::machine::{LoadError, Loaded, Machine, Refusal};
use crate::measure::Session;
use crate::real::SessionModel;

/// Why the agent ended early.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error("the connection to the host broke: {0}")]
    Io(io::Error),
    #[error("line {line} of the input is not a request: {problem}")]
    Request { line: usize, problem: serde_json::Error },
    #[error("a response could not be written: {0}")]
    Response(serde_json::Error),
    #[error("line {line} of the input asks for a measurement before `start` gave the protocol")]
    NotStarted { line: usize },
    #[error("{0}")]
    Fatal(String),
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Serves the requests of standard input on `machine`, answering on standard output. When
/// the input ends the whole process ends at once, even in the middle of a measurement: the
/// host is gone, and nobody waits for the answer. With a limit to its `silence` the process
/// also ends when nothing came for that long, not even an empty line: a connection whose
/// cable was pulled may never end. An empty line is answered with one at once, whatever is
/// being measured, so that the host can tell a busy agent from one that is gone.
///
/// # Errors
/// [`ServeError`] if the host's end breaks or speaks something else.
pub fn serve_host(machine: &mut dyn Machine, silence: Option<Duration>) -> Result<(), ServeError> {
    let (sender, lines) = mpsc::channel();
    let begin = Instant::now();
    let heard_ms = Arc::new(AtomicU64::new(0));
    if let Some(silence) = silence {
        let heard_ms = Arc::clone(&heard_ms);
        std::thread::spawn(move || {
            let end = || Duration::from_millis(heard_ms.load(Ordering::Relaxed)) + silence;
            while let Some(left) = end().checked_sub(begin.elapsed()).filter(|left| !left.is_zero())
            {
                std::thread::sleep(left);
            }
            eprintln!("the host was silent for {} s", silence.as_secs());
            std::process::exit(1);
        });
    }
    // It sleeps in `read` for all of a measurement and takes no time from it.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            heard_ms.store(begin.elapsed().as_millis() as u64, Ordering::Relaxed);
            if line.as_ref().is_ok_and(|line| line.trim().is_empty()) {
                // A host that does not listen any more is about to end the input as well.
                let _ = writeln!(io::stdout());
                continue;
            }
            if sender.send(line).is_err() {
                return;
            }
        }
        std::process::exit(0);
    });
    serve_lines(lines.into_iter(), io::stdout(), machine)
}

/// Serves the requests of `input` on `machine` until it ends, answering each on `output`.
///
/// A model that cannot be measured is answered with [`Response::Failed`]; the agent goes on.
///
/// # Errors
/// [`ServeError`] if the host's end breaks or speaks something else.
pub fn serve(
    input: impl BufRead,
    output: impl Write,
    machine: &mut dyn Machine,
) -> Result<(), ServeError> {
    serve_lines(input.lines(), output, machine)
}

fn serve_lines(
    lines: impl Iterator<Item = io::Result<String>>,
    mut output: impl Write,
    machine: &mut dyn Machine,
) -> Result<(), ServeError> {
    let mut started: Option<Started> = None;
    for (index, line) in lines.enumerate() {
        let line_number = index + 1;
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let request: Request = serde_json::from_str(&line)
            .map_err(|problem| ServeError::Request { line: line_number, problem })?;
        let response = answer(request, line_number, machine, &mut started)?;
        let text = serde_json::to_string(&response).map_err(ServeError::Response)?;
        writeln!(output, "{text}")?;
        output.flush()?;
    }
    Ok(())
}

/// What a `start` request leaves behind.
struct Started {
    session: Session,
    /// Memory of the agent with only the reference model, in KiB.
    memory_kib: Option<u64>,
}

fn answer(
    request: Request,
    line: usize,
    machine: &mut dyn Machine,
    started: &mut Option<Started>,
) -> Result<Response, ServeError> {
    let (subject, answer) = match request {
        Request::Inspect => {
            let (device, agent) = (Box::new(machine.context()), Box::new(machine.agent()));
            return Ok(Response::Inspected { device, agent });
        }
        Request::Start { protocol, onnx_runtime } => {
            // The old reference model makes room for the new one.
            *started = None;
            let answer = start(*protocol, onnx_runtime.as_deref(), machine);
            (
                "reference".to_owned(),
                answer.map(|(ready, response)| {
                    *started = Some(ready);
                    response
                }),
            )
        }
        Request::Run { arch } => {
            let Some(started) = started else { return Err(ServeError::NotStarted { line }) };
            (arch.to_string(), run(arch, started.session.protocol(), machine))
        }
        Request::Measure { subject, role } => {
            let Some(started) = started else { return Err(ServeError::NotStarted { line }) };
            (subject.to_string(), measured(subject, role, started, machine))
        }
    };
    match answer {
        Ok(response) => Ok(response),
        Err(LoadError::Model(Refusal { message, hint })) => {
            Ok(Response::Failed { subject, message, hint })
        }
        Err(LoadError::Fatal(message)) => Err(ServeError::Fatal(message)),
    }
}

fn start(
    protocol: Protocol,
    onnx_runtime: Option<&str>,
    machine: &mut dyn Machine,
) -> Result<(Started, Response), LoadError> {
    machine.prepare(&protocol, onnx_runtime)?;
    let reference = Subject::architecture(protocol.reference.clone());
    let loaded = machine.load(&reference, &in_floats(&protocol))?;
    let kernel = match protocol.precision {
        Precision::F32 | Precision::F16 => loaded.kernel,
        // The one that the measured architectures run on.
        Precision::Int8 => machine.load(&reference, &protocol)?.kernel,
    };
    let session = Session::begin(protocol, loaded.model, machine)?;
    let mut agent = machine.agent();
    if let Some((kernel, tile)) = kernel {
        (agent.kernel, agent.tile) = (kernel, tile);
    }
    let device = Box::new(machine.context());
    let response = Response::Ready { device, agent: Box::new(agent) };
    Ok((Started { session, memory_kib: machine.memory_kib() }, response))
}

fn measured(
    subject: Subject,
    role: Role,
    started: &mut Started,
    machine: &mut dyn Machine,
) -> Result<Response, LoadError> {
    machine.reset_peak_memory();
    let begin = machine.now_us();
    let protocol = started.session.protocol();
    let loaded = match role {
        Role::Baseline => machine.load(&subject, &in_floats(protocol)),
        Role::Sample | Role::Retest | Role::Check => machine.load(&subject, protocol),
    };
    let Loaded { mut model, weights_ms, .. } = loaded?;
    let built = machine.now_us();
    let mut record = started.session.measure(subject, role, &mut *model, machine)?;
    record.build_ms = (built - begin) / 1e3;
    record.weights_ms = weights_ms;
    record.memory_before_kib = started.memory_kib;
    record.peak_memory_kib = machine.peak_memory_kib();
    record.flags.extend(machine.context().flags());
    drop(model);
    record.elapsed_ms = (machine.now_us() - begin) / 1e3;
    Ok(Response::Measured { record: Box::new(record) })
}

/// The protocol by which the reference and the baselines are made.
fn in_floats(protocol: &Protocol) -> Protocol {
    Protocol { precision: Precision::F32, ..protocol.clone() }
}

fn run(
    arch: Architecture,
    protocol: &Protocol,
    machine: &dyn Machine,
) -> Result<Response, LoadError> {
    if machine.context().simulated {
        let message = "a simulated device has no engine to run it";
        return Err(LoadError::from(message.to_owned()));
    }
    let outputs = SessionModel::load(&Subject::Architecture(arch), protocol)?.outputs()?;
    Ok(Response::Ran { outputs })
}
