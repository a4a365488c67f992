//! What the agent needs of the machine that it runs on, real or simulated.

use atb_measurements::{AgentContext, DeviceContext, Protocol, Reading, Subject};
use atb_space::Workload;

/// Something that can be run and timed.
pub trait Model {
    /// Runs once.
    ///
    /// # Errors
    /// Whatever the runtime says, as text for the host.
    fn run(&mut self) -> Result<(), String>;
}

/// The clock and the sensors, as the measurement protocol sees them.
pub trait Device {
    /// Microseconds since some fixed moment.
    fn now_us(&self) -> f64;

    /// Microseconds that the calling thread has had the processor for; `None` where the
    /// system does not tell.
    fn cpu_us(&self) -> Option<f64>;

    /// The logical core that the calling thread runs on, where the system tells.
    fn core(&self) -> Option<usize>;

    /// Lets `seconds` pass without work.
    fn wait(&self, seconds: f64);

    /// The sensors.
    fn reading(&self) -> Reading;

    /// What the system counts.
    fn counters(&self) -> Counters;

    /// The logical cores, those of one kind together.
    fn clusters(&self) -> &[Vec<usize>];
}

/// What the system counts; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Times that the agent gave the processor up by itself.
    pub voluntary_switches: Option<u64>,
    /// Times that the processor was taken away from the agent.
    pub involuntary_switches: Option<u64>,
    /// Time that a virtual machine's host gave to others, over the agent's cores, in
    /// milliseconds.
    pub steal_ms: Option<f64>,
}

/// A model that is ready to be timed, and what the runtime says of it.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn Model>,
    /// Name and tile of the matrix kernel that it runs on.
    pub kernel: Option<(String, (usize, usize))>,
    /// Time that making up random weights took, in milliseconds.
    pub weights_ms: f64,
}

/// Why something cannot be done, and what to do about it where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal with a remedy.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self { message, hint: None }
    }
}

/// Why a model could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The model cannot be measured; the next one may.
    Model(Refusal),
    /// The agent cannot go on.
    Fatal(String),
}

impl<T: Into<Refusal>> From<T> for LoadError {
    fn from(refusal: T) -> Self {
        Self::Model(refusal.into())
    }
}

/// A machine that can load models.
pub trait Machine: Device {
    /// Makes ready for `protocol`: pins the agent to its cores.
    ///
    /// # Errors
    /// Which of the cores it may not use.
    fn prepare(&mut self, protocol: &Protocol, onnx_runtime: Option<&str>) -> Result<(), Refusal>;

    /// Builds (with random weights) or loads what `subject` names.
    ///
    /// # Errors
    /// [`LoadError`] with what the runtime says, or how a model file's shape differs from
    /// the protocol's.
    fn load(&mut self, subject: &Subject, protocol: &Protocol) -> Result<Loaded, LoadError>;

    /// The device as it is now.
    fn context(&self) -> DeviceContext;

    /// The agent, without the matrix kernel of a model.
    fn agent(&self) -> AgentContext;

    /// Memory of the agent, in KiB, where the system tells.
    fn memory_kib(&self) -> Option<u64>;

    /// Resets [`Machine::peak_memory_kib`], where the system allows it.
    fn reset_peak_memory(&mut self);

    /// The highest memory of the agent since [`Machine::reset_peak_memory`], in KiB.
    fn peak_memory_kib(&self) -> Option<u64>;
}

/// Checks that the model file `path`, made for `workload`, is what `protocol` measures.
///
/// # Errors
/// How its shape differs from the protocol's.
pub(crate) fn takes(
    path: impl std::fmt::Display,
    workload: Workload,
    protocol: &Protocol,
) -> Result<(), Refusal> {
    let asked = protocol.workload;
    if workload == asked {
        return Ok(());
    }
    let message = format!(
        "{path} takes {} sequences of {} tokens, the protocol measures {} of {}",
        workload.batch, workload.sequence, asked.batch, asked.sequence
    );
    Err(Refusal::new(message, "export it for that shape"))
}
