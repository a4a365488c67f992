//! `atb profile`: measure architectures on a device.

use std::path::{Path, PathBuf};

use atb_measurements::{MeasurementFile, Verdict};
use atb_pipeline::steps::{self, ProfiledDevice};
use atb_pipeline::{ProfileConfig, Sampling};
use atb_settings::{Layers, SettingsError};
use atb_space::Architecture;
use atb_targets::Target;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::{ProtocolArguments, SpaceArguments};
use crate::display::{self, Display};
use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Device: a built-in name or a target file; several are measured at the same time
    #[arg(long = "target", value_name = "TARGET", default_value = "local")]
    targets: Vec<String>,
    #[command(flatten)]
    space: SpaceArguments,
    /// Architectures to measure
    #[arg(long, default_value_t = ProfileConfig::default().samples)]
    samples: usize,
    /// Of these, how many to measure twice
    #[arg(long, default_value_t = ProfileConfig::default().retests)]
    retests: usize,
    /// Architecture to measure besides, so that speed-ups can be quoted against it; several
    /// are possible
    #[arg(long = "baseline", value_name = "ARCH", default_values_t = ProfileConfig::default().baselines)]
    baselines: Vec<Architecture>,
    /// Seed of which ones
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How they are chosen: those that tell a predictor most, or uniformly, to test one on
    #[arg(long, default_value = Sampling::ALL[0].name(), value_parser = Sampling::ALL.map(Sampling::name))]
    sampling: String,
    #[command(flatten)]
    protocol: ProtocolArguments,
    /// Measurement file; an existing one is resumed. Of several devices each has its
    /// own, with the target's name before the extension
    #[arg(long, short, default_value = "measurements.jsonl")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

impl Arguments {
    fn settings(&self) -> Result<ProfileConfig, SettingsError> {
        Layers::new()
            .flag("samples", "--samples", Some(self.samples))
            .flag("retests", "--retests", Some(self.retests))
            .flag("seed", "--seed", Some(self.seed))
            .flag("sampling", "--sampling", Some(&self.sampling))
            .flags("baselines", "--baseline", &self.baselines)
            .read()
    }
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let space = arguments.space.find()?;
    let settings = arguments.settings()?;
    let several = arguments.targets.len() > 1;
    let mut devices = Vec::new();
    for name in &arguments.targets {
        let target = Target::find(name)?;
        let protocol = arguments.protocol.on(&target)?;
        let file = match several {
            true => file_of(&arguments.out, &target.name),
            false => arguments.out.clone(),
        };
        devices.push(ProfiledDevice { target, protocol, file });
    }
    if let Some(twice) = devices.iter().enumerate().find_map(|(index, device)| {
        devices[..index].iter().any(|other| other.file == device.file).then_some(device)
    }) {
        miette::bail!(
            help = "rename one of them",
            "two targets are called `{}` and would share a file",
            twice.target.name
        );
    }
    let names: Vec<&str> = devices.iter().map(|device| device.target.name.as_str()).collect();
    let mut displays = Display::for_devices(&names);
    let results = steps::profile_devices(&devices, &space, &settings, &mut displays)?;
    let (mut failure, mut devices) = (None, Vec::new());
    for result in results {
        match result {
            Ok(measured) => devices.push(Measured::of(&measured)?),
            Err(error) if several && failure.is_none() => failure = Some(error),
            Err(error) if several => display::error(&error.into()),
            Err(error) => return Err(error.into()),
        }
    }
    if !devices.is_empty() {
        arguments.output.print(&Profiled { schema: 1, devices })?;
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// The file of one device among several.
fn file_of(out: &Path, target: &str) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let extension = out.extension().map(|extension| extension.to_string_lossy());
    let extension = extension.map_or_else(String::new, |extension| format!(".{extension}"));
    out.with_file_name(format!("{stem}-{target}{extension}"))
}

/// Measurement files, as `atb profile --format json` prints them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Profiled {
    /// Version of the schema: 1.
    schema: u32,
    /// One for each device.
    devices: Vec<Measured>,
}

/// What was measured on a device, and whether it can be trusted.
#[derive(Debug, Serialize, JsonSchema)]
struct Measured {
    /// The device.
    target: String,
    /// The measurement file.
    file: String,
    /// How many measurements it holds.
    measurements: usize,
    /// The model that every measurement is paired with.
    reference: String,
    /// The latency of that model.
    reference_ms: f64,
    /// Share of the agent's time that was not inference; null if it is not known.
    overhead: Option<f64>,
    /// Whether the measurements can be trusted.
    trustworthy: bool,
    /// Why not.
    objections: Vec<String>,
    /// What lessens their worth without making them wrong.
    notes: Vec<String>,
    /// How many measurements repeat another one.
    repeated: usize,
    /// Mean relative difference of those from the first; null if there are none.
    difference: Option<f64>,
    /// The verdict in words.
    verdict: String,
}

impl Measured {
    fn of(file: &MeasurementFile) -> miette::Result<Self> {
        let verdict = Verdict::of(file)?;
        Ok(Self {
            target: file.header.target.clone(),
            file: file.path.display().to_string(),
            measurements: file.records.len(),
            reference: file.header.protocol.reference.id(),
            reference_ms: file.reference_ms()?,
            overhead: file.overhead(),
            trustworthy: verdict.trustworthy(),
            verdict: verdict.to_string(),
            repeated: verdict.repeats.map_or(0, |repeats| repeats.count),
            difference: verdict.repeats.map(|repeats| repeats.difference),
            objections: verdict.objections,
            notes: verdict.notes,
        })
    }
}

impl Document for Profiled {
    fn parts(&self) -> Vec<Part> {
        let part = |measured: &Measured| {
            let mut lines = vec![format!(
                "{}: {} measurements on {}, reference model {} {:.3} ms",
                measured.file,
                measured.measurements,
                measured.target,
                measured.reference,
                measured.reference_ms
            )];
            if let Some(overhead) = measured.overhead {
                lines.push(format!(
                    "{:.0} % of the agent's time was not inference",
                    100.0 * overhead
                ));
            }
            lines.push(measured.verdict.clone());
            Part::Text(lines)
        };
        self.devices.iter().map(part).collect()
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        Lines::of(&self.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_a_file_of_its_own() {
        let file = |out| file_of(Path::new(out), "pi").display().to_string();
        assert_eq!(file("m.jsonl"), "m-pi.jsonl");
        assert_eq!(file("runs/today.v2.jsonl"), "runs/today.v2-pi.jsonl");
        assert_eq!(file("runs/plain"), "runs/plain-pi");
    }
}
