//! `atb agent`: the agent on the machine that atb itself runs on.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Settings of a simulated device, as JSON
    #[arg(long, value_name = "SETTINGS")]
    simulate: Option<String>,
}

pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let options = arguments.simulate.iter().flat_map(|json| ["--simulate", json]);
    let mut machine = atb_agent::machine(options.map(str::to_owned))?;
    atb_agent::serve_host(&mut *machine)?;
    Ok(())
}
