//! `atb agent`: the agent on the machine that atb itself runs on; `atb agent build`: the agent
//! for another one.

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use atb_agent::{Options, serve_host};
use atb_targets::{AgentBuild, Target, TargetError, Tool, triple_of};
use clap::{Args, Subcommand, ValueEnum};
use miette::{IntoDiagnostic, WrapErr, bail};

use crate::display;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Settings of a simulated device, as JSON
    #[arg(long, value_name = "SETTINGS", hide = true)]
    simulate: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the agent for a device, from a checkout of the source code
    Build(Build),
    /// Remove what atb has put on a device
    Remove(Remove),
}

#[derive(Debug, Args)]
struct Build {
    /// Device: a built-in name or a target file
    #[arg(long)]
    target: String,
    /// How to build; by default the first of these that can
    #[arg(long, value_enum)]
    with: Option<ToolArgument>,
    /// Folder of the source code; by default the one that this is run in
    #[arg(long)]
    source: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Remove {
    /// Device: a built-in name or a target file
    #[arg(long)]
    target: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ToolArgument {
    Cargo,
    Zigbuild,
    Cross,
}

impl From<ToolArgument> for Tool {
    fn from(argument: ToolArgument) -> Self {
        match argument {
            ToolArgument::Cargo => Self::Cargo,
            ToolArgument::Zigbuild => Self::Zigbuild,
            ToolArgument::Cross => Self::Cross,
        }
    }
}

impl Arguments {
    /// Whether this process is to be the agent itself.
    pub(crate) fn serves(&self) -> bool {
        self.command.is_none()
    }
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    match &arguments.command {
        Some(Command::Build(arguments)) => build(arguments),
        Some(Command::Remove(arguments)) => {
            Ok(Target::find(&arguments.target)?.open()?.clean_up()?)
        }
        None => serve(arguments),
    }
}

fn serve(arguments: &Arguments) -> miette::Result<()> {
    if io::stdin().is_terminal() {
        bail!(
            help = "`atb agent build --help` is for people",
            "atb agent serves requests of a program"
        );
    }
    let options = arguments.simulate.iter().flat_map(|json| ["--simulate", json]);
    let mut options = Options::parse(options.map(str::to_owned))?;
    serve_host(&mut *options.machine, options.silence).into_diagnostic()?;
    Ok(())
}

fn build(arguments: &Build) -> miette::Result<()> {
    let target = Target::find(&arguments.target)?;
    let triple = match &target.triple {
        Some(triple) => triple.clone(),
        None => {
            let device = target.open()?;
            let machine = device.machine();
            triple_of(machine).map(str::to_owned).ok_or_else(|| TargetError::UnknownMachine {
                target: target.name.clone(),
                machine: machine.to_owned(),
            })?
        }
    };
    let folder = match &arguments.source {
        Some(folder) => folder.clone(),
        None => env::current_dir().into_diagnostic().wrap_err("the current folder")?,
    };
    let build = AgentBuild::find(&folder, &triple)?;
    let tool = match arguments.with {
        Some(tool) => tool.into(),
        None => build.tool()?,
    };
    eprintln!("build     the agent for {triple} with {tool}");
    let built = build.build(tool)?;
    let path = build.install(&built)?;
    let bytes = fs_err::metadata(&path).into_diagnostic()?.len();
    eprintln!("          {:.1} MB", bytes as f64 / 1e6);
    display::data(&path.display().to_string())?;
    Ok(())
}
