//! The request loop.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use atb_measurements::{AgentContext, Protocol, Record, Request, Response, Role, Subject};

use crate::device;
use crate::measure::{WallClock, measure, warm_up};
use crate::model::SessionModel;

/// Why the agent ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// the host's end is gone
    #[error("the connection to the host broke: {0}")]
    Io(#[from] io::Error),
    /// a line that is no request
    #[error("line {line} of the input is not a request: {source}")]
    Request {
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// a response that cannot be written as JSON
    #[error("a response could not be written: {0}")]
    Response(serde_json::Error),
    /// a measurement before there was a protocol
    #[error("line {line} of the input asks for a measurement before `start` gave the protocol")]
    NotStarted {
        /// The line, from 1.
        line: usize,
    },
}

/// What a `start` request leaves behind.
struct Started {
    protocol: Protocol,
    reference: SessionModel,
    clock: WallClock,
}

/// Serves the requests of `input` until it ends, answering each on `output`.
///
/// A model that cannot be measured is answered with
/// [`Response::Failed`]; the agent goes on.
///
/// # Errors
/// [`ServeError`] if the host's end breaks or speaks something else.
pub fn serve(input: impl BufRead, mut output: impl Write) -> Result<(), ServeError> {
    let mut started: Option<Started> = None;
    for (index, line) in input.lines().enumerate() {
        let line_number = index + 1;
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let request: Request = serde_json::from_str(&line)
            .map_err(|source| ServeError::Request { line: line_number, source })?;
        let response = match request {
            Request::Start { protocol } => match start(*protocol) {
                Ok((ready, device_and_agent)) => {
                    started = Some(ready);
                    device_and_agent
                }
                Err(message) => Response::Failed { subject: "reference".to_owned(), message },
            },
            Request::Measure { subject, role } => {
                let Some(started) = &mut started else {
                    return Err(ServeError::NotStarted { line: line_number });
                };
                let name = subject.to_string();
                match measured(subject, role, started) {
                    Ok(record) => Response::Measured { record: Box::new(record) },
                    Err(message) => Response::Failed { subject: name, message },
                }
            }
        };
        let text = serde_json::to_string(&response).map_err(ServeError::Response)?;
        writeln!(output, "{text}")?;
        output.flush()?;
    }
    Ok(())
}

fn start(protocol: Protocol) -> Result<(Started, Response), String> {
    let clock = WallClock::start();
    let subject = Subject::architecture(protocol.reference.clone());
    let mut reference = SessionModel::load(&subject, &protocol)?;
    warm_up(&mut reference, &protocol.warm_up, &clock)?;
    let kernel = reference.kernel();
    let agent = AgentContext {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime: atb_runtime::ENGINE.to_owned(),
        tile: kernel.as_ref().map_or((1, 1), |kernel| kernel.tile),
        kernel: kernel.map_or_else(String::new, |kernel| kernel.name),
    };
    let response = Response::Ready { device: Box::new(device::context()), agent: Box::new(agent) };
    Ok((Started { protocol, reference, clock }, response))
}

fn measured(subject: Subject, role: Role, started: &mut Started) -> Result<Record, String> {
    device::reset_peak_memory();
    let begin = Instant::now();
    let mut model = SessionModel::load(&subject, &started.protocol)?;
    let build_ms = begin.elapsed().as_secs_f64() * 1e3;
    let record = measure(
        subject,
        role,
        &mut model,
        &mut started.reference,
        &started.protocol,
        &started.clock,
    )?;
    Ok(Record { build_ms, peak_memory_kib: device::peak_memory_kib(), ..record })
}
