//! `atb completions` and `atb man`: what a shell completes, and pages of the manual.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use miette::{IntoDiagnostic, WrapErr};

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell whose completions are printed
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Folder to write the pages to, `atb.1`, `atb-run.1` and so on
    #[arg(short, long, default_value = "man", value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn completions(arguments: &Completions) -> miette::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), "atb", &mut script);
    display::data(String::from_utf8_lossy(&script).trim_end())
}

pub(crate) fn man(arguments: &Man) -> miette::Result<()> {
    let folder = &arguments.out;
    fs_err::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(crate::Arguments::command(), folder))
        .into_diagnostic()
        .wrap_err_with(|| folder.display().to_string())?;
    display::data(&folder.display().to_string())
}
