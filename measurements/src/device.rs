//! What is known of the device and the agent that measured.

use serde::{Deserialize, Serialize};

/// The device as the agent found it; every field that could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceContext {
    /// Processor name.
    pub cpu: Option<String>,
    /// Instruction set architecture, as Rust names it (`aarch64`).
    pub isa: String,
    /// Operating system, as Rust names it (`linux`).
    pub os: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Logical cores that the agent may use.
    pub cores: Option<usize>,
    /// Memory of the device, in MiB.
    pub memory_mib: Option<u64>,
    /// Frequency governor of the first core.
    pub governor: Option<String>,
    /// Current frequency of the first core, in MHz.
    pub frequency_mhz: Option<f64>,
    /// Highest temperature of the thermal zones, in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Load average over one minute.
    pub load_average: Option<f64>,
    /// Whether the processor is a virtual machine's.
    pub virtualised: bool,
}

/// The program that measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentContext {
    /// Version of the agent.
    pub version: String,
    /// Name and version of the inference runtime.
    pub runtime: String,
    /// Matrix kernel in use, as the runtime names it.
    pub kernel: String,
    /// Rows and columns of that kernel's tile: sizes are rounded up to them.
    pub tile: (usize, usize),
}
