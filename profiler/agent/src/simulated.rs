//! A machine that does not exist: a known cost model behind a virtual clock.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use atb_graph::{Description, DescriptionError};
use atb_measurements::{
    AgentContext, Battery, CoreCluster, CoreFrequency, DeviceContext, Protocol, Reading,
    SimulatedCluster, Simulation, Subject, ThermalZone,
};
use atb_space::Architecture;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::machine::{Counters, Device, LoadError, Loaded, Machine, Model, Refusal, takes};

/// Length of another program's turn at the core, in microseconds.
const SLICE_US: f64 = 4000.0;
/// How far below its limit a throttled device has to cool before it recovers.
const RECOVERY_C: f64 = 5.0;

/// A simulated device; its models only let the virtual clock advance.
pub struct SimulatedMachine {
    simulation: Simulation,
    state: Rc<RefCell<State>>,
    clusters: Vec<Vec<usize>>,
}

/// What changes while the simulated device works.
struct State {
    simulation: Simulation,
    random: ChaCha8Rng,
    now_us: f64,
    cpu_us: f64,
    /// Time that other programs are owed, in microseconds.
    owed_us: f64,
    temperature_c: f64,
    throttled: bool,
    /// The cluster that the agent is pinned to.
    pinned: Option<usize>,
    /// The model that ran last.
    last: Option<u64>,
    /// Models loaded so far.
    loaded: u64,
    switches: u64,
    /// Memory of the loaded models, in KiB: the reference's, then the subject's.
    reference_kib: u64,
    model_kib: u64,
}

impl State {
    /// The cluster that the agent runs on now.
    fn cluster(&self) -> usize {
        if let Some(pinned) = self.pinned {
            return pinned;
        }
        match self.simulation.migration {
            Some(rule) if (self.now_us / 1e6) % rule.every_s > rule.every_s - rule.for_s => {
                self.simulation.clusters.len() - 1
            }
            _ => 0,
        }
    }

    /// Speed of the clock at the moment: one is the full one.
    fn speed(&self) -> f64 {
        let drift = self.simulation.drift.map_or(1.0, |rule| {
            let phase = std::f64::consts::TAU * self.now_us / 1e6 / rule.period_s;
            1.0 + rule.amplitude * phase.sin()
        });
        let heat = match self.simulation.throttling {
            Some(rule) if self.throttled => rule.speed,
            _ => 1.0,
        };
        drift * heat
    }

    /// Lets time pass, at work or at rest.
    fn pass(&mut self, us: f64, at_work: bool) {
        if let Some(rule) = self.simulation.throttling {
            let speed = self.speed();
            let target = match at_work {
                true => rule.room_c + (rule.full_load_c - rule.room_c) * speed,
                false => rule.room_c,
            };
            let kept = (-us / 1e6 / rule.time_constant_s).exp();
            self.temperature_c = target + (self.temperature_c - target) * kept;
            self.throttled = match self.throttled {
                true => self.temperature_c > rule.limit_c - RECOVERY_C,
                false => self.temperature_c > rule.limit_c,
            };
        }
        self.now_us += us;
        if self.simulation.pace > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(self.simulation.pace * us / 1e6));
        }
    }

    /// Runs a model whose true times on the clusters are `costs_us`.
    fn run(&mut self, model: u64, costs_us: &[f64]) {
        let noise: f64 = self.random.sample(StandardNormal);
        let outlier = self.random.random_bool(self.simulation.outliers.clamp(0.0, 1.0));
        let cold = self.last.is_some_and(|last| last != model);
        self.last = Some(model);
        let factor = (1.0 + self.simulation.noise * noise).max(0.1)
            * if outlier { 1.5 } else { 1.0 }
            * if cold { 1.0 + self.simulation.cold_cache } else { 1.0 };
        let us = costs_us[self.cluster()] * factor / self.speed();
        self.cpu_us += us;
        self.pass(us, true);
        let load = self.simulation.other_load.clamp(0.0, 0.95);
        self.owed_us += us * load / (1.0 - load);
        let slices = (self.owed_us / SLICE_US).floor();
        if slices > 0.0 {
            self.owed_us -= slices * SLICE_US;
            self.switches += slices as u64;
            self.pass(slices * SLICE_US, true);
        }
    }
}

/// Why `what` cannot run in another engine.
fn no_engine(what: &str) -> Refusal {
    Refusal::new(
        format!(
            "{what} cannot run in another engine on a simulated device, which has only a cost \
             model"
        ),
        "compare engines on a device",
    )
}

struct SimulatedModel {
    number: u64,
    costs_us: Vec<f64>,
    state: Rc<RefCell<State>>,
}

impl Model for SimulatedModel {
    fn run(&mut self) -> Result<(), String> {
        self.state.borrow_mut().run(self.number, &self.costs_us);
        Ok(())
    }
}

impl SimulatedMachine {
    /// The device of these settings, at rest.
    ///
    /// # Errors
    /// If it has no cores.
    pub fn new(simulation: Simulation) -> Result<Self, Refusal> {
        if simulation.clusters.iter().all(|cluster| cluster.cores == 0) {
            return Err(Refusal::new("the simulated device has no cores", "give it `clusters`"));
        }
        let mut first = 0;
        let clusters = simulation
            .clusters
            .iter()
            .map(|cluster| {
                let cores = (first..first + cluster.cores).collect();
                first += cluster.cores;
                cores
            })
            .collect();
        let state = State {
            random: ChaCha8Rng::seed_from_u64(simulation.seed),
            now_us: 0.0,
            cpu_us: 0.0,
            owed_us: 0.0,
            temperature_c: simulation.throttling.map_or(0.0, |rule| rule.room_c),
            throttled: false,
            pinned: None,
            last: None,
            loaded: 0,
            switches: 0,
            reference_kib: 0,
            model_kib: 0,
            simulation: simulation.clone(),
        };
        Ok(Self { simulation, state: Rc::new(RefCell::new(state)), clusters })
    }

    /// The model of `arch` with `vocabulary` word embeddings.
    fn model(
        &mut self,
        arch: &Architecture,
        vocabulary: usize,
        protocol: &Protocol,
    ) -> Result<Loaded, LoadError> {
        let workload = protocol.workload;
        let mut state = self.state.borrow_mut();
        let model = (arch, protocol.precision);
        let model_kib = self.simulation.model_kib(model, workload, vocabulary);
        if state.loaded == 0 {
            state.reference_kib = self.simulation.memory_kib(model, workload, vocabulary);
        } else {
            state.model_kib = model_kib;
        }
        let needed_kib = state.reference_kib + state.model_kib;
        if needed_kib > self.simulation.memory_mib * 1024 {
            return Err(LoadError::Fatal(format!(
                "out of memory: {arch} needs {} MiB of the simulated device's {}",
                needed_kib / 1024,
                self.simulation.memory_mib
            )));
        }
        state.pass(self.simulation.build_ms(model, workload, vocabulary) * 1e3, true);
        state.loaded += 1;
        let cost_us = |cluster: &SimulatedCluster| {
            self.simulation.latency_on_us(cluster, model, workload, protocol.threads)
        };
        let model = SimulatedModel {
            number: state.loaded,
            costs_us: self.simulation.clusters.iter().map(cost_us).collect(),
            state: Rc::clone(&self.state),
        };
        Ok(Loaded { model: Box::new(model), kernel: None, weights_ms: 0.0 })
    }

    /// The model in the file `path`: the cost model knows its architecture, which the file
    /// names.
    fn model_file(&mut self, path: &str, protocol: &Protocol) -> Result<Loaded, LoadError> {
        let description = Description::read(Path::new(path)).map_err(|error| match error {
            DescriptionError::Lacking { .. } => Refusal::new(
                format!(
                    "{error}, and a simulated device has only a cost model, no engine to run it"
                ),
                "export it with `atb export`, or time it on a device",
            ),
            error => error.to_string().into(),
        })?;
        let Description { architecture, workload, words, precision } = description;
        takes(path, workload, protocol)?;
        let protocol = Protocol { precision, ..protocol.clone() };
        self.model(&architecture, words, &protocol)
    }
}

impl Device for SimulatedMachine {
    fn now_us(&self) -> f64 {
        self.state.borrow().now_us
    }

    fn cpu_us(&self) -> Option<f64> {
        Some(self.state.borrow().cpu_us)
    }

    fn core(&self) -> Option<usize> {
        self.clusters[self.state.borrow().cluster()].first().copied()
    }

    fn wait(&self, seconds: f64) {
        self.state.borrow_mut().pass(seconds * 1e6, false);
    }

    fn reading(&self) -> Reading {
        let state = self.state.borrow();
        let cluster = state.cluster();
        let mhz = self.simulation.clusters[cluster].frequency_mhz * state.speed();
        let frequencies =
            self.clusters[cluster].iter().map(|&core| CoreFrequency { core, mhz }).collect();
        let zone =
            || ThermalZone { name: "simulated".to_owned(), temperature_c: state.temperature_c };
        Reading {
            frequencies,
            hottest: self.simulation.throttling.map(|_| zone()),
            throttled_by: Vec::from_iter(state.throttled.then(|| "simulated heat".to_owned())),
            load_average: Some(1.0 + self.simulation.other_load),
        }
    }

    fn counters(&self) -> Counters {
        Counters {
            voluntary_switches: Some(0),
            involuntary_switches: Some(self.state.borrow().switches),
            steal_ms: None,
        }
    }

    fn clusters(&self) -> &[Vec<usize>] {
        &self.clusters
    }
}

impl Machine for SimulatedMachine {
    fn prepare(&mut self, protocol: &Protocol, onnx_runtime: Option<&str>) -> Result<(), Refusal> {
        if onnx_runtime.is_some() {
            return Err(no_engine("the model file"));
        }
        let cluster_of = |core: &usize| {
            self.clusters.iter().position(|cores| cores.contains(core)).ok_or_else(|| {
                let all: usize = self.clusters.iter().map(Vec::len).sum();
                Refusal::new(
                    format!(
                        "core {core} is not available on the simulated device, which has 0 to {}",
                        all - 1
                    ),
                    "change `cores` of the target",
                )
            })
        };
        let clusters =
            protocol.cores.iter().map(cluster_of).collect::<Result<Vec<usize>, Refusal>>()?;
        let mut state = self.state.borrow_mut();
        state.pinned = clusters.into_iter().max();
        (state.loaded, state.reference_kib, state.model_kib) = (0, 0, 0);
        Ok(())
    }

    fn load(&mut self, subject: &Subject, protocol: &Protocol) -> Result<Loaded, LoadError> {
        match subject {
            Subject::Architecture(arch) => self.model(arch, protocol.vocabulary, protocol),
            Subject::Model(path) => self.model_file(path, protocol),
            Subject::PlainTract(path) | Subject::OnnxRuntime(path) => {
                Err(LoadError::Model(no_engine(path)))
            }
        }
    }

    fn context(&self) -> DeviceContext {
        let reading = self.reading();
        let clusters: Vec<CoreCluster> = self
            .simulation
            .clusters
            .iter()
            .zip(&self.clusters)
            .map(|(cluster, cores)| CoreCluster {
                name: Some(cluster.name.clone()),
                cores: cores.clone(),
                max_frequency_mhz: Some(cluster.frequency_mhz),
                governor: None,
            })
            .collect();
        DeviceContext {
            cpu: clusters.first().and_then(|cluster| cluster.name.clone()),
            board: Some("simulated device".to_owned()),
            isa: "simulated".to_owned(),
            os: "simulated".to_owned(),
            cores: Some(self.clusters.iter().map(Vec::len).sum()),
            clusters,
            memory_mib: Some(self.simulation.memory_mib),
            memory_available_mib: Some(self.simulation.memory_mib),
            clocks_locked: Some(self.simulation.locked_clocks),
            frequency_mhz: reading.frequencies.first().map(|frequency| frequency.mhz),
            temperature_c: reading.hottest.as_ref().map(|zone| zone.temperature_c),
            thermal_zones: Vec::from_iter(reading.hottest),
            throttled_by: reading.throttled_by,
            battery: self
                .simulation
                .battery_percent
                .map(|percent| Battery { percent, charging: false }),
            load_average: reading.load_average,
            simulated: true,
            ..DeviceContext::default()
        }
    }

    fn agent(&self) -> AgentContext {
        AgentContext {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: "simulated".to_owned(),
            kernel: "simulated".to_owned(),
            tile: (1, 1),
            ..AgentContext::default()
        }
    }

    fn memory_kib(&self) -> Option<u64> {
        Some(self.state.borrow().reference_kib)
    }

    fn reset_peak_memory(&mut self) {
        self.state.borrow_mut().model_kib = 0;
    }

    fn peak_memory_kib(&self) -> Option<u64> {
        let state = self.state.borrow();
        Some(state.reference_kib + state.model_kib)
    }
}
