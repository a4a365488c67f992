//! A bundle's latency on the device at hand, by the agent's protocol.

use std::thread;

use atb_agent::{RealMachine, ServeError, serve};
use atb_measurements::{
    Header, Protocol, ProtocolSettings, Record, Request, Response, Role, SCHEMA, Statistics,
    Subject, file_text, median,
};
use atb_runtime::{Bundle, MODEL_FILE, ModelError, Session, SessionError};
use atb_space::Workload;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MeasureError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Serve(#[from] ServeError),
    #[error("{subject} could not be measured: {message}")]
    Refused {
        subject: String,
        message: String,
        #[help]
        hint: Option<String>,
    },
    #[error("the measurement was not understood: {0}")]
    Record(String),
    #[error("the measurement's thread could not be started: {0}")]
    Thread(std::io::Error),
    #[error("the measurement panicked")]
    Panicked,
}

/// How a bundle is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureOptions {
    /// How often; the latency is the median of all. `atb bench` measures three times.
    pub turns: usize,
    /// Logical cores that the measuring thread is pinned to; none leaves it to the system.
    pub cores: Vec<usize>,
    /// Most seconds of one turn's pairs; what `atb bench` takes if absent. A number that was
    /// measured for a shorter time is less certain, and `atb bench --compare` says so.
    pub seconds: Option<f64>,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        Self { turns: 3, cores: Vec::new(), seconds: None }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The bundle's latency in milliseconds, as `atb bench` gives it.
    pub latency_ms: f64,
    /// The measurement file, as `atb bench --out` writes it: a header and a record a line.
    pub text: String,
}

/// Measures a bundle in this process: a thread of its own runs it and the reference model in
/// turn, for some seconds to half a minute. Measure while the app is as busy as it is when it
/// asks the model.
///
/// # Errors
/// [`MeasureError`], also if the thread may not have the cores that were asked for.
pub fn measure(bundle: Bundle, options: &MeasureOptions) -> Result<Measurement, MeasureError> {
    let options = options.clone();
    // A thread of its own may be pinned, and the app's is not.
    let thread = thread::Builder::new()
        .name("atb-measure".to_owned())
        .spawn(move || in_this_thread(bundle, &options))
        .map_err(MeasureError::Thread)?;
    thread.join().unwrap_or(Err(MeasureError::Panicked))
}

fn in_this_thread(bundle: Bundle, options: &MeasureOptions) -> Result<Measurement, MeasureError> {
    let name = bundle.name().to_owned();
    let model = bundle.part(MODEL_FILE).map_err(ModelError::from)?;
    let shape = Session::from_bytes(&name, &model, 1)?;
    let workload = Workload { batch: shape.batch(), sequence: shape.sequence() };
    drop(shape);
    let default = ProtocolSettings::default();
    let max_seconds = options.seconds.map_or(default.max_seconds, |seconds| seconds.max(0.0));
    let settings = ProtocolSettings { workload, max_seconds, ..default };
    let protocol = settings.on(Some(1), &options.cores);

    // The name tells which model it was, wherever it lay.
    let subject = format!("{MODEL_FILE}@sha256:{}", atb_files::digest(&model));
    let open = move |threads| Session::from_bytes(&name, &model, threads);
    let mut machine = RealMachine::new().holding(subject.clone(), Box::new(open));
    let subject = Subject::Model(subject);
    let start = Request::Start { protocol: Box::new(protocol.clone()), onnx_runtime: None };
    let measure = Request::Measure { subject, role: Role::Check };
    let requests = std::iter::once(&start).chain(vec![&measure; options.turns.max(1)]);
    let not_json = |error: serde_json::Error| MeasureError::Record(error.to_string());
    let mut input = Vec::new();
    for request in requests {
        serde_json::to_writer(&mut input, request).map_err(not_json)?;
        input.push(b'\n');
    }
    let mut output = Vec::new();
    let served = serve(&*input, &mut output, &mut machine);
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let responses: Vec<Response> =
        lines.map(serde_json::from_slice).collect::<Result<_, _>>().map_err(not_json)?;
    let found = measurement(responses, protocol);
    // What the agent refused at the start says more than that nothing was started.
    match (found, served) {
        (Err(refused @ MeasureError::Refused { .. }), _) => Err(refused),
        (_, Err(error)) => Err(error.into()),
        (found, Ok(())) => found,
    }
}

/// Puts the agent's answers together.
fn measurement(responses: Vec<Response>, protocol: Protocol) -> Result<Measurement, MeasureError> {
    let mut context = None;
    let mut records: Vec<Record> = Vec::new();
    for response in responses {
        match response {
            Response::Ready { device, agent } => context = Some((*device, *agent)),
            Response::Measured { record } => records.push(*record),
            Response::Failed { subject, message, hint } => {
                return Err(MeasureError::Refused { subject, message, hint });
            }
            Response::Inspected { .. } | Response::Ran { .. } => {}
        }
    }
    let nothing = || MeasureError::Record("there are no samples".to_owned());
    let (device, agent) = context.ok_or_else(nothing)?;
    let ratios: Vec<f64> = records
        .iter()
        .map(|record| Statistics::of(record).map(|statistics| statistics.ratio))
        .collect::<Result<_, _>>()
        .map_err(|error| MeasureError::Record(error.to_string()))?;
    let references: Vec<f64> =
        records.iter().flat_map(|record| &record.reference_us).copied().collect();
    let (ratio, reference) = median(&ratios).zip(median(&references)).ok_or_else(nothing)?;
    let header = Header { schema: SCHEMA, target: "app".to_owned(), protocol, device, agent };
    let text = file_text(&header, &records);
    let text = text.map_err(|error| MeasureError::Record(error.to_string()))?;
    Ok(Measurement { latency_ms: ratio * reference / 1e3, text })
}
