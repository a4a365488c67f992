//! `atb profile`: measure architectures on a device.

use std::path::PathBuf;

use atb_measurements::Protocol;
use atb_pipeline::{ProfileConfig, Sampling, SpaceChoice, steps};
use atb_space::Architecture;
use atb_targets::Target;
use clap::{Args, ValueEnum};

use super::WorkloadArguments;
use crate::display::{self, Display};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Device: a built-in name or a target file
    #[arg(long, default_value = "local")]
    target: String,
    /// Space to measure in: `kd`, `mlm` or a TOML file
    #[arg(long, default_value = "kd")]
    space: String,
    /// Only architectures that fit into this one, as those of a SuperPLM do
    #[arg(long, value_name = "ARCH")]
    within: Option<Architecture>,
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
    #[arg(long, value_enum, default_value_t)]
    sampling: SamplingArgument,
    /// Threads of the runtime
    #[arg(long, default_value_t = 1, value_parser = super::at_least_one)]
    threads: usize,
    #[command(flatten)]
    workload: WorkloadArguments,
    /// Measurement file; one that is there is continued
    #[arg(long, short, default_value = "measurements.jsonl")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum SamplingArgument {
    #[default]
    Designed,
    Uniform,
}

impl From<SamplingArgument> for Sampling {
    fn from(argument: SamplingArgument) -> Self {
        match argument {
            SamplingArgument::Designed => Self::Designed,
            SamplingArgument::Uniform => Self::Uniform,
        }
    }
}

pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let target = Target::find(&arguments.target)?;
    let mut space = SpaceChoice::find(&arguments.space)?;
    if let Some(largest) = &arguments.within {
        space = space.within(largest)?;
    }
    let settings = ProfileConfig {
        samples: arguments.samples,
        retests: arguments.retests,
        seed: arguments.seed,
        sampling: arguments.sampling.into(),
        baselines: arguments.baselines.clone(),
    };
    let protocol = Protocol {
        workload: arguments.workload.into(),
        threads: arguments.threads,
        ..Protocol::default()
    };
    let mut display = Display::new();
    let measured =
        steps::profile_space(&target, &space, &settings, &protocol, &arguments.out, &mut display)?;
    display::data(&format!(
        "{}: {} measurements on {}, reference model {} {:.3} ms",
        arguments.out.display(),
        measured.records.len(),
        measured.header.target,
        measured.header.protocol.reference,
        measured.reference_ms()?
    ))?;
    Ok(())
}
