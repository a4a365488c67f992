//! `atb agent`: the agent on the machine that atb itself runs on.

use std::io;

pub(crate) fn execute() -> anyhow::Result<()> {
    atb_agent::serve(io::stdin().lock(), io::stdout().lock())?;
    Ok(())
}
