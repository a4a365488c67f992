//! What the device did while one model was measured.

use serde::{Deserialize, Serialize};

use crate::ThermalZone;

/// The device around one measurement; what it does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// The sensors just before.
    pub before: Reading,
    /// The sensors just after.
    pub after: Reading,
    /// Times that the agent gave the processor up by itself.
    pub voluntary_switches: Option<u64>,
    /// Times that the processor was taken away from the agent.
    pub involuntary_switches: Option<u64>,
    /// Time that a virtual machine's host gave to others, over the agent's cores, in
    /// milliseconds.
    pub steal_ms: Option<f64>,
    /// How many runs ended on each logical core, where the system tells.
    pub runs_on_cores: Vec<RunsOnCore>,
    /// Times that a run ended on another core than the run before it.
    pub migrations: Option<u64>,
    /// The reference model's run time at the start of the session, in microseconds: of the
    /// processor on one thread, else by the wall clock.
    pub baseline_us: Option<f64>,
    /// Time spent waiting for the device to cool down, in milliseconds.
    pub cool_down_ms: f64,
}

/// The sensors at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Frequencies of the cores that the agent may use.
    pub frequencies: Vec<CoreFrequency>,
    /// The hottest thermal zone.
    pub hottest: Option<ThermalZone>,
    /// What slows the processor down, in the system's words.
    pub throttled_by: Vec<String>,
    /// Load average over one minute.
    pub load_average: Option<f64>,
}

/// The frequency of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreFrequency {
    /// The logical core.
    pub core: usize,
    /// Its frequency, in MHz.
    pub mhz: f64,
}

/// How many runs ended on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsOnCore {
    /// The logical core.
    pub core: usize,
    /// The number of runs.
    pub runs: u64,
}
