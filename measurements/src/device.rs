//! What is known of the device and the agent that measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Flag;

/// The device as the agent found it; every field that could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceContext {
    /// Processor name.
    pub cpu: Option<String>,
    /// Board, phone or system on a chip.
    pub board: Option<String>,
    /// Instruction set architecture, as Rust names it (`aarch64`).
    pub isa: String,
    /// Operating system, as Rust names it (`linux`).
    pub os: String,
    /// Name and version of the operating system, as it names itself.
    pub os_name: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Logical cores that the agent may use.
    pub cores: Option<usize>,
    /// All logical cores, those of one kind together, the fastest kind first.
    pub clusters: Vec<CoreCluster>,
    /// Memory of the device, in MiB.
    pub memory_mib: Option<u64>,
    /// Memory that programs can still have, in MiB.
    pub memory_available_mib: Option<u64>,
    /// Space that is left where the agent's program lies, in MiB.
    pub free_space_mib: Option<u64>,
    /// Frequency governor of the first core.
    pub governor: Option<String>,
    /// Whether every core keeps one frequency: its limits are equal, or its governor is
    /// `performance`.
    pub clocks_locked: Option<bool>,
    /// Current frequency of the first core, in MHz.
    pub frequency_mhz: Option<f64>,
    /// Highest temperature of the thermal zones, in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// The thermal zones one by one.
    pub thermal_zones: Vec<ThermalZone>,
    /// What slows the processor down at the moment, in the system's words; nothing is what
    /// one wants.
    pub throttled_by: Vec<String>,
    /// The battery, where there is one.
    pub battery: Option<Battery>,
    /// Load average over one minute.
    pub load_average: Option<f64>,
    /// Whether the processor is a virtual machine's.
    pub virtualised: bool,
    /// Whether the program runs on an emulated processor: its times say nothing.
    pub emulated: bool,
    /// Whether there is no device at all, only a cost model and made-up noise.
    pub simulated: bool,
}

/// Logical cores of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoreCluster {
    /// Name of the core, as its maker or the system gives it (`Cortex-A76`).
    pub name: Option<String>,
    /// Numbers of the logical cores.
    pub cores: Vec<usize>,
    /// Highest frequency, in MHz.
    pub max_frequency_mhz: Option<f64>,
    /// Frequency governor.
    pub governor: Option<String>,
}

/// One temperature sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThermalZone {
    /// The system's name for it.
    pub name: String,
    /// Its temperature, in degrees Celsius.
    pub temperature_c: f64,
}

/// A battery's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Battery {
    /// Charge, in percent.
    pub percent: u8,
    /// Whether the device is on external power.
    pub charging: bool,
}

/// Charge below which phones begin to save power, in percent.
const LOW_BATTERY_PERCENT: u8 = 20;

impl DeviceContext {
    /// What of the device's state lessens the worth of every measurement made in it.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let low = |battery: &Battery| !battery.charging && battery.percent < LOW_BATTERY_PERCENT;
        let flags = [
            (self.simulated, Flag::Simulated),
            (self.emulated, Flag::Emulated),
            (self.clocks_locked == Some(false), Flag::UnlockedClocks),
            (self.battery.as_ref().is_some_and(low), Flag::LowBattery),
        ];
        flags.into_iter().filter_map(|(holds, flag)| holds.then_some(flag)).collect()
    }
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
    /// The kind of processor that the runtime tunes for, where it tells kinds apart.
    #[serde(default)]
    pub cpu_kind: Option<String>,
    /// Instruction set extensions that the runtime uses.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Settings of the runtime in the agent's environment (`TRACT_...`).
    #[serde(default)]
    pub overrides: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_device_gives_its_flags() {
        let battery = |percent, charging| Some(Battery { percent, charging });
        let phone = DeviceContext {
            clocks_locked: Some(false),
            battery: battery(15, false),
            ..DeviceContext::default()
        };
        assert_eq!(phone.flags(), [Flag::UnlockedClocks, Flag::LowBattery]);
        let plugged_in = DeviceContext { battery: battery(15, true), ..phone };
        assert_eq!(plugged_in.flags(), [Flag::UnlockedClocks]);
        // A virtual machine shows no frequencies, which is nothing against it.
        assert_eq!(DeviceContext { virtualised: true, ..DeviceContext::default() }.flags(), []);
    }
}
