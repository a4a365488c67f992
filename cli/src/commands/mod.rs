//! One file a subcommand; each turns its arguments into one call and its result into text.

mod agent;
mod bench;
mod calibrate;
mod completions;
mod devices;
mod doctor;
mod embed;
mod evaluate;
mod export;
mod extract;
mod finetune;
mod fit;
mod init;
mod predict;
mod profile;
mod refine;
mod report;
mod run;
mod search;
mod train;
mod verify;

use atb_measurements::{Protocol, ProtocolSettings};
use atb_pipeline::SpaceChoice;
use atb_ranks::Ranks;
use atb_settings::{Layers, SettingsError};
use atb_space::{Architecture, Precision, Space, Workload};
use atb_targets::Target;
use clap::{Args, Subcommand};
use miette::IntoDiagnostic;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a configuration to begin with: which device, which budget, which text
    Init(init::Arguments),
    /// Do the whole job: profile, fit, search, extract, export, verify, bench, report
    Run(run::Arguments),
    /// Measure architectures on a device
    Profile(profile::Arguments),
    /// Fit a latency predictor to measurements
    Fit(fit::Arguments),
    /// Measure in rounds until a predictor is good enough
    Refine(refine::Arguments),
    /// Carry a predictor over to another device or sequence length with ten measurements
    Calibrate(calibrate::Arguments),
    /// Predict the latency of architectures
    Predict(predict::Arguments),
    /// Search the best sub-architecture of a SuperPLM under a latency budget
    Search(search::Arguments),
    /// Train a SuperPLM by distillation or masked language modelling, or one architecture further
    Train(train::Arguments),
    /// Cut a sub-architecture out of a SuperPLM
    Extract(extract::Arguments),
    /// Train a model for a task
    Finetune(finetune::Arguments),
    /// Export a model folder to a bundle with an ONNX file
    Export(export::Arguments),
    /// Write a small project that builds and uses a bundle, to begin an app with
    Embed(embed::Arguments),
    /// Score models on tasks, with intervals and paired differences
    Evaluate(evaluate::Arguments),
    /// Compare a bundle's outputs in candle, tract and ONNX Runtime
    Verify(verify::Arguments),
    /// Time an exported model on a device, alternating with another architecture
    Bench(bench::Arguments),
    /// Make a page of a run, with its figures and plots
    Report(report::Arguments),
    /// List the devices that can be reached now
    Devices(devices::Arguments),
    /// Check whether a run on a device can be trusted, and say what to do if not
    Doctor(doctor::Arguments),
    /// Build the program that runs on a device
    Agent(agent::Arguments),
    /// Print what a shell completes
    Completions(completions::Completions),
    /// Write the pages of the manual
    Man(completions::Man),
}

impl Command {
    /// Whether several ranks can do it together.
    fn is_shared(&self) -> bool {
        matches!(self, Self::Search(_) | Self::Train(_) | Self::Finetune(_))
    }

    /// The ranks of this process's job. An agent is no part of the job of the rank that starts it.
    pub(crate) fn ranks(&self) -> miette::Result<Ranks> {
        match self {
            Self::Agent(_) => Ok(Ranks::alone()),
            _ => Ok(atb_mpi::world()?),
        }
    }

    pub(crate) fn execute(self, ranks: &Ranks) -> miette::Result<()> {
        if !ranks.are_one() && !self.is_shared() {
            return Err(miette::miette!(
                help = "start it without `mpirun`",
                "several ranks do `search`, `train` and `finetune` together, nothing else"
            ));
        }
        let speaks = ranks.is_first();
        if !matches!(&self, Self::Agent(arguments) if arguments.serves()) {
            ctrlc::set_handler(move || {
                if speaks {
                    eprintln!("\ninterrupted; the same command continues where this one stopped");
                }
                std::process::exit(130);
            })
            .into_diagnostic()?;
        }
        match self {
            Self::Init(arguments) => init::execute(&arguments),
            Self::Completions(arguments) => completions::completions(&arguments),
            Self::Man(arguments) => completions::man(&arguments),
            Self::Run(arguments) => run::execute(&arguments),
            Self::Profile(arguments) => profile::execute(&arguments),
            Self::Fit(arguments) => fit::execute(&arguments),
            Self::Refine(arguments) => refine::execute(&arguments),
            Self::Calibrate(arguments) => calibrate::execute(&arguments),
            Self::Predict(arguments) => predict::execute(&arguments),
            Self::Search(arguments) => search::execute(&arguments, ranks),
            Self::Train(arguments) => train::execute(&arguments, ranks),
            Self::Extract(arguments) => extract::execute(&arguments),
            Self::Finetune(arguments) => finetune::execute(&arguments, ranks),
            Self::Export(arguments) => export::execute(&arguments),
            Self::Embed(arguments) => embed::execute(&arguments),
            Self::Evaluate(arguments) => evaluate::execute(&arguments),
            Self::Verify(arguments) => verify::execute(&arguments),
            Self::Bench(arguments) => bench::execute(&arguments),
            Self::Report(arguments) => report::execute(&arguments),
            Self::Devices(arguments) => devices::execute(&arguments),
            Self::Doctor(arguments) => doctor::execute(&arguments),
            Self::Agent(arguments) => agent::execute(&arguments),
        }
    }
}

/// The space of architectures.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpaceArguments {
    /// Space of architectures: `kd`, `mlm` or a TOML file
    #[arg(long, default_value = "kd")]
    space: String,
    /// Only architectures that fit into this one, as those of a SuperPLM do
    #[arg(long, value_name = "ARCH")]
    within: Option<Architecture>,
}

impl SpaceArguments {
    pub(crate) fn find(&self) -> miette::Result<Space> {
        let space = SpaceChoice::find(&self.space)?;
        Ok(match &self.within {
            Some(largest) => space.within(largest)?,
            None => space,
        })
    }
}

/// How models are run while they are measured.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ProtocolArguments {
    /// Threads of the runtime; what the target file says, or one, if absent
    #[arg(long)]
    threads: Option<usize>,
    /// What the weights of the measured architectures are: f32, f16 or int8. Baselines are f32
    #[arg(long, default_value_t)]
    precision: Precision,
    #[command(flatten)]
    workload: WorkloadArguments,
}

impl ProtocolArguments {
    pub(crate) fn on(self, target: &Target) -> miette::Result<Protocol> {
        let layers = Layers::new().flag("threads", "--threads", self.threads).flag(
            "precision",
            "--precision",
            Some(self.precision),
        );
        let settings: ProtocolSettings = self.workload.over(layers, "workload.").read()?;
        Ok(settings.on(target.threads, &target.cores))
    }
}

/// The shape of input that a model is run on.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct WorkloadArguments {
    /// Batch size
    #[arg(long, default_value_t = Workload::default().batch)]
    batch: usize,
    /// Sequence length in tokens, padding included
    #[arg(long, default_value_t = Workload::default().sequence)]
    sequence: usize,
}

impl WorkloadArguments {
    pub(crate) fn read(self) -> Result<Workload, SettingsError> {
        self.over(Layers::new(), "").read()
    }

    /// These over `layers`, where the keys of the table have this prefix.
    fn over(self, layers: Layers, table: &str) -> Layers {
        layers.flag(&format!("{table}batch"), "--batch", Some(self.batch)).flag(
            &format!("{table}sequence"),
            "--sequence",
            Some(self.sequence),
        )
    }
}

/// The flag by which some commands were asked for JSON, refused by the new one.
#[derive(Debug, Args)]
struct FormerJson {
    /// Former name of `--format json`
    #[arg(
        long = "json",
        hide = true,
        num_args = 0..=1,
        default_missing_value = "",
        value_parser = renamed("--format json")
    )]
    json: Option<String>,
}

/// Refuses a flag that has another name now, by that name.
fn renamed(new: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |_| Err(format!("the option is now called `{new}`"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schemars::schema_for;

    use super::*;

    #[test]
    fn the_schemas_in_the_documentation_are_those_of_what_is_printed_and_written() {
        let schemas = [
            ("bench", schema_for!(bench::Benched)),
            ("devices", schema_for!(devices::Devices)),
            ("doctor", schema_for!(doctor::Examination)),
            ("evaluate", schema_for!(evaluate::Report)),
            ("export", schema_for!(export::Exported)),
            ("finetune", schema_for!(finetune::Finetuned)),
            ("fit", schema_for!(fit::Fitted)),
            ("predict", schema_for!(predict::Predictions)),
            ("profile", schema_for!(profile::Profiled)),
            ("refine", schema_for!(refine::RefinedPredictor)),
            ("report", schema_for!(report::Reported)),
            ("run", schema_for!(run::Found)),
            ("run-plan", schema_for!(run::Steps)),
            ("search", schema_for!(search::Found)),
            ("train", schema_for!(train::Trained)),
            ("verify", schema_for!(verify::Verified)),
            ("files/comparison", schema_for!(atb_report::Comparison)),
            ("files/figures", schema_for!(atb_report::Figures)),
        ];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
        for (name, schema) in schemas {
            let path = folder.join(format!("{name}.json"));
            let schema = serde_json::to_string_pretty(&schema).expect("a schema");
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                atb_files::write(&path, format!("{schema}\n").as_bytes()).expect("writes");
            }
            let kept = std::fs::read_to_string(&path).expect("the kept schema");
            assert_eq!(kept.trim_end(), schema, "{name}: run this test with UPDATE_SCHEMAS=1");
        }
    }
}
