//! The machine that the agent really runs on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atb_graph::{Network, NetworkConfig, RandomWeights};
use atb_measurements::{AgentContext, DeviceContext, Protocol, Reading, Subject};
use atb_runtime::{Engine, Inputs, Outputs, Session, SessionError};
use atb_space::{Architecture, Cost, Workload};

use crate::cores::Affinity;
use crate::machine::{Counters, Device, LoadError, Loaded, Machine, Model, Refusal, takes};
use crate::system::System;

/// The device, read through its operating system.
pub struct RealMachine {
    start: Instant,
    system: System,
    affinity: Affinity,
    clusters: Vec<Vec<usize>>,
    held: Option<(String, Opener)>,
    #[cfg(feature = "ort")]
    onnx_runtime: Option<atb_onnx_runtime::OnnxRuntime>,
}

/// Opens a model, to run on so many threads.
pub type Opener = Box<dyn Fn(usize) -> Result<Session, SessionError>>;

impl RealMachine {
    /// The machine as it is when the agent starts.
    #[must_use]
    pub fn new() -> Self {
        let system = System::new();
        let clusters = system.clusters().into_iter().map(|cluster| cluster.cores).collect();
        Self {
            start: Instant::now(),
            system,
            affinity: Affinity::current(),
            clusters,
            held: None,
            #[cfg(feature = "ort")]
            onnx_runtime: None,
        }
    }

    /// The machine in a program that has a model itself: what is called `name` is opened by
    /// `open`, not from a file.
    #[must_use]
    pub fn holding(self, name: String, open: Opener) -> Self {
        Self { held: Some((name, open)), ..self }
    }
}

impl RealMachine {
    #[cfg(feature = "ort")]
    fn load_onnx_runtime(&mut self, library: &str) -> Result<(), Refusal> {
        if self.onnx_runtime.is_none() {
            let loaded = atb_onnx_runtime::OnnxRuntime::load(Path::new(library));
            self.onnx_runtime = Some(loaded.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    #[cfg(not(feature = "ort"))]
    #[expect(clippy::unused_self, reason = "agents with ONNX Runtime need it")]
    fn load_onnx_runtime(&mut self, library: &str) -> Result<(), Refusal> {
        Err(Refusal::new(
            format!("this agent has no ONNX Runtime and cannot take the library {library}"),
            "build the agent with its feature `ort`",
        ))
    }

    #[cfg(feature = "ort")]
    fn in_onnx_runtime(&self, file: &str, protocol: &Protocol) -> Result<Box<dyn Model>, Refusal> {
        let runtime = self.onnx_runtime.as_ref().ok_or_else(|| no_library(file))?;
        // Token ids that every vocabulary has.
        let inputs = inputs(protocol, protocol.vocabulary);
        let Workload { batch, sequence } = protocol.workload;
        let open = || {
            let session = runtime.open(Path::new(file), protocol.threads)?;
            let batch = session.batch([batch, sequence], &inputs)?;
            Ok(OnnxRuntimeModel { session, batch })
        };
        let opened = open().map_err(|error: atb_onnx_runtime::OnnxRuntimeError| error.to_string());
        Ok(Box::new(opened?))
    }

    #[cfg(not(feature = "ort"))]
    #[expect(clippy::unused_self, reason = "agents with ONNX Runtime need it")]
    fn in_onnx_runtime(&self, file: &str, _: &Protocol) -> Result<Box<dyn Model>, Refusal> {
        Err(no_library(file))
    }
}

fn no_library(file: &str) -> Refusal {
    Refusal::new(
        format!("{file} is to run in ONNX Runtime, and no library was given"),
        "name one that lies on the device",
    )
}

impl Default for RealMachine {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for RealMachine {
    fn now_us(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e6
    }

    fn cpu_us(&self) -> Option<f64> {
        #[cfg(unix)]
        {
            use nix::time::{ClockId, clock_gettime};
            let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
            Some(time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3)
        }
        #[cfg(not(unix))]
        None
    }

    fn core(&self) -> Option<usize> {
        crate::cores::current()
    }

    fn wait(&self, seconds: f64) {
        std::thread::sleep(Duration::from_secs_f64(seconds.max(0.0)));
    }

    fn reading(&self) -> Reading {
        self.system.reading(self.affinity.cores())
    }

    fn counters(&self) -> Counters {
        let steal_ms = self.system.steal_ms(self.affinity.cores());
        #[cfg(unix)]
        {
            use nix::sys::resource::{UsageWho, getrusage};
            let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
            Counters {
                voluntary_switches: usage
                    .and_then(|usage| usage.voluntary_context_switches().try_into().ok()),
                involuntary_switches: usage
                    .and_then(|usage| usage.involuntary_context_switches().try_into().ok()),
                steal_ms,
            }
        }
        #[cfg(not(unix))]
        Counters { steal_ms, ..Counters::default() }
    }

    fn clusters(&self) -> &[Vec<usize>] {
        &self.clusters
    }
}

impl Machine for RealMachine {
    fn prepare(&mut self, protocol: &Protocol, onnx_runtime: Option<&str>) -> Result<(), Refusal> {
        if let Some(library) = onnx_runtime {
            self.load_onnx_runtime(library)?;
        }
        self.affinity.pin(&protocol.cores, protocol.threads)
    }

    fn load(&mut self, subject: &Subject, protocol: &Protocol) -> Result<Loaded, LoadError> {
        if let Subject::OnnxRuntime(file) = subject {
            let model = self.in_onnx_runtime(file, protocol)?;
            return Ok(Loaded { model, kernel: None, weights_ms: 0.0 });
        }
        if let Subject::Architecture(arch) = subject {
            let available = self.system.context().memory_available_mib;
            fits(arch, protocol, available).map_err(LoadError::Model)?;
        }
        let model = match (subject, &self.held) {
            (Subject::Model(path), Some((name, open))) if path == name => {
                let session = open(protocol.threads).map_err(|error| error.to_string())?;
                SessionModel::of(session, subject, protocol)?
            }
            _ => SessionModel::load(subject, protocol)?,
        };
        let kernel = model.session.kernel().map(|kernel| (kernel.name, kernel.tile));
        let weights_ms = model.weights_ms;
        Ok(Loaded { model: Box::new(model), kernel, weights_ms })
    }

    fn context(&self) -> DeviceContext {
        let cores = self.affinity.cores().len();
        DeviceContext { cores: (cores > 0).then_some(cores), ..self.system.context() }
    }

    fn agent(&self) -> AgentContext {
        let processor = atb_runtime::processor();
        AgentContext {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: atb_runtime::ENGINE.to_owned(),
            kernel: String::new(),
            tile: (1, 1),
            cpu_kind: processor.kind,
            extensions: processor.extensions,
            overrides: std::env::vars().filter(|(name, _)| name.starts_with("TRACT_")).collect(),
        }
    }

    fn memory_kib(&self) -> Option<u64> {
        self.system.status_kib("VmRSS")
    }

    fn reset_peak_memory(&mut self) {
        self.system.reset_peak_memory();
    }

    fn peak_memory_kib(&self) -> Option<u64> {
        self.system.status_kib("VmHWM")
    }
}

/// Checks that the weights and activations of `arch` fit into the memory that is available, in
/// MiB. Where the system hands out more memory than there is, a model that does not fit ends the
/// agent, or whatever else the system chooses.
fn fits(arch: &Architecture, protocol: &Protocol, available: Option<u64>) -> Result<(), Refusal> {
    let Some(available) = available else { return Ok(()) };
    let Protocol { workload, vocabulary, .. } = *protocol;
    // In f32, as a processor without dot products packs them whatever the file has.
    let weights = Cost::file_bytes(arch, vocabulary, workload.sequence, size_of::<f32>());
    let needed = (weights + Cost::activation_bytes(arch, workload)) >> 20;
    if needed <= available {
        return Ok(());
    }
    let message =
        format!("{arch} needs {needed} MiB of memory, the device has {available} MiB left");
    Err(Refusal::new(message, "choose a smaller architecture or workload"))
}

/// A session with the inputs that it is timed on.
pub(crate) struct SessionModel {
    session: Session,
    inputs: Inputs,
    weights_ms: f64,
}

impl SessionModel {
    /// Builds or loads what `subject` names.
    ///
    /// # Errors
    /// What the runtime says, or how a model file's shape differs from the protocol's.
    pub(crate) fn load(subject: &Subject, protocol: &Protocol) -> Result<Self, Refusal> {
        let weights_us = Arc::new(AtomicU64::new(0));
        let session = match subject {
            Subject::Architecture(arch) => {
                let weights_us = Arc::clone(&weights_us);
                let config = NetworkConfig {
                    precision: protocol.precision,
                    ..NetworkConfig::encoder(protocol.vocabulary)
                };
                let network = Network::new(arch, protocol.workload, &config);
                let weights = RandomWeights::new(protocol.seed);
                let skeleton = network.skeleton();
                Session::with_external_data(
                    &arch.id(),
                    &skeleton,
                    protocol.threads,
                    move |offset, length| {
                        let begin = Instant::now();
                        let values = network.fill_range(&weights, offset, length);
                        let us = begin.elapsed().as_micros() as u64;
                        weights_us.fetch_add(us, Ordering::Relaxed);
                        values.map_err(|error| error.to_string())
                    },
                )
            }
            Subject::Model(path) => Session::open_threaded(Path::new(path), protocol.threads),
            Subject::PlainTract(path) => {
                Session::open_with(Path::new(path), protocol.threads, Engine::Plain)
            }
            Subject::OnnxRuntime(file) => return Err(no_library(file)),
        }
        .map_err(|error| error.to_string())?;
        let weights_ms = weights_us.load(Ordering::Relaxed) as f64 / 1e3;
        Ok(Self { weights_ms, ..Self::of(session, subject, protocol)? })
    }

    /// A loaded model.
    ///
    /// # Errors
    /// How its shape differs from the protocol's.
    fn of(session: Session, subject: &Subject, protocol: &Protocol) -> Result<Self, Refusal> {
        let workload = Workload { batch: session.batch(), sequence: session.sequence() };
        takes(subject, workload, protocol)?;
        let words = session.words().unwrap_or(protocol.vocabulary);
        Ok(Self { inputs: inputs(protocol, words), session, weights_ms: 0.0 })
    }

    /// Runs once and gives the outputs.
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn outputs(&mut self) -> Result<Outputs, String> {
        self.session.run(&self.inputs).map_err(|error| error.to_string())
    }
}

/// A session of ONNX Runtime with the inputs that it is timed on.
#[cfg(feature = "ort")]
struct OnnxRuntimeModel {
    session: atb_onnx_runtime::OnnxSession,
    batch: atb_onnx_runtime::Batch,
}

#[cfg(feature = "ort")]
impl Model for OnnxRuntimeModel {
    fn run(&mut self) -> Result<(), String> {
        self.session.run(&self.batch).map_err(|error| error.to_string())
    }
}

/// The tokens that a model of `words` words is timed on. Any do: the time does not depend
/// on which.
fn inputs(protocol: &Protocol, words: usize) -> Inputs {
    let count = (protocol.workload.batch * protocol.workload.sequence) as u64;
    let words = words.max(1) as u64;
    let id = |i: u64| (i.wrapping_mul(0x9e37_79b9).wrapping_add(protocol.seed) % words) as i64;
    Inputs::of_ids((0..count).map(id).collect())
}

impl Model for SessionModel {
    fn run(&mut self) -> Result<(), String> {
        std::hint::black_box(&self.outputs()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_fit_into_memory_is_refused_before_it_is_made() {
        let fits = |arch: &str, available| {
            let refused = fits(&arch.parse().expect(arch), &Protocol::default(), available);
            refused.map_err(|refusal| refusal.message)
        };
        assert_eq!(fits("4-256-480-12-192", Some(1024)), Ok(()));
        assert_eq!(fits("1-40000-40000-1-40000", None), Ok(()));
        let message = fits("1-40000-40000-1-40000", Some(4096)).expect_err("too large");
        assert!(message.ends_with("the device has 4096 MiB left"), "{message}");
        assert!(fits("1024-1048576-1048576-1-1048576", Some(u64::MAX >> 1)).is_ok());
    }
}
