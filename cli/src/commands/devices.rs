//! `atb devices`: which devices can be reached now, and what they are.

use atb_measurements::CoreCluster;
use atb_profiler::{Inspection, Surveyed, by_address, known_targets, survey};
use atb_targets::Target;
use clap::Args;
use miette::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;

use crate::display;
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these: built-in names or target files
    targets: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
}

/// Devices that were looked for, as `atb devices --format json` prints them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Devices {
    /// Version of the schema: 1.
    schema: u32,
    /// Those that answer.
    devices: Vec<Device>,
    /// Those that do not.
    unreachable: Vec<Unreachable>,
}

/// A device that answers. What it does not tell is null.
#[derive(Debug, Serialize, JsonSchema)]
struct Device {
    /// How to name it.
    target: String,
    /// The board, else the processor.
    device: Option<String>,
    /// Its cores in words.
    cores: Option<String>,
    /// Its memory in MiB.
    memory_mib: Option<u64>,
    /// Its system.
    system: String,
    /// What governs its frequencies.
    governor: Option<String>,
    /// Its temperature in degrees Celsius.
    temperature_c: Option<f64>,
    /// What it is instead of a device: `simulated`, `emulated` or `virtual machine`.
    remark: Option<String>,
}

/// A device that does not answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Unreachable {
    /// How to name it.
    target: String,
    /// Why not.
    error: String,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let targets = match &arguments.targets[..] {
        [] => known_targets()?,
        names => names.iter().map(|name| Target::find(name)).collect::<Result<_, _>>()?,
    };
    let (mut devices, mut unreachable) = (Vec::new(), Vec::new());
    for Surveyed { target, result } in survey(targets) {
        match result {
            Ok(inspection) => devices.push(Device::of(&target, &inspection)),
            Err(error) => unreachable.push((target, error)),
        }
    }
    let none = |(target, error): &(Target, _)| Unreachable {
        target: target.name.clone(),
        error: format!("{error}"),
    };
    arguments.output.print(&Devices {
        schema: 1,
        devices,
        unreachable: unreachable.iter().map(none).collect(),
    })?;
    for (target, error) in unreachable {
        display::note(&format!("\n{}: {error}", target.name));
        display::hint(error.help());
    }
    if arguments.targets.is_empty() {
        eprintln!(
            "\nThese are looked for by address, as `NAME@ADDRESS`, or through files of your own in \
             {}:",
            atb_targets::user_folder().display()
        );
        for target in by_address()? {
            display::note(&format!("  {:<16} {}", target.name, target.description));
        }
    }
    Ok(())
}

impl Device {
    fn of(target: &Target, inspection: &Inspection) -> Self {
        let device = &inspection.device;
        let cores = match &device.clusters[..] {
            [] => device.cores.map(|cores| cores.to_string()),
            clusters => Some(clusters.iter().map(cluster).collect::<Vec<_>>().join(" + ")),
        };
        let remark = [
            (device.simulated, "simulated"),
            (device.emulated, "emulated"),
            (device.virtualised, "virtual machine"),
        ];
        Self {
            target: target.name.clone(),
            device: device.board.clone().or_else(|| device.cpu.clone()),
            cores,
            memory_mib: device.memory_mib,
            system: device.os_name.clone().unwrap_or_else(|| device.os.clone()),
            governor: device.governor.clone(),
            temperature_c: device.temperature_c,
            remark: remark.into_iter().find_map(|(holds, text)| holds.then(|| text.to_owned())),
        }
    }
}

impl Document for Devices {
    /// A line or more of each device: what it is, its cores, and its state.
    fn parts(&self) -> Vec<Part> {
        let mut rows = Vec::new();
        for device in &self.devices {
            let memory = device.memory_mib.map(|mib| format!("{:.1} GiB", mib as f64 / 1024.0));
            let governor = device.governor.as_ref().map(|name| format!("governor {name}"));
            let temperature = device.temperature_c.map(|celsius| format!("{celsius:.0} °C"));
            let lines = [
                joined([device.device.clone(), Some(device.system.clone()), memory]),
                joined([device.cores.clone(), None, None]),
                joined([governor, temperature, device.remark.clone()]),
            ];
            let mut name = device.target.clone();
            for line in lines.into_iter().filter(|line| !line.is_empty()) {
                rows.push((std::mem::take(&mut name), line));
            }
        }
        match rows.is_empty() {
            true => Vec::new(),
            false => vec![Part::Named(rows)],
        }
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.devices)
    }
}

fn joined(texts: [Option<String>; 3]) -> String {
    texts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn cluster(cluster: &CoreCluster) -> String {
    let name = cluster.name.as_deref().unwrap_or("core");
    let frequency = cluster.max_frequency_mhz;
    let frequency = frequency.map_or_else(String::new, |mhz| format!(" {:.1} GHz", mhz / 1e3));
    format!("{} {name}{frequency}", cluster.cores.len())
}
