//! `atb embed`: a small project that uses a bundle.

use std::path::PathBuf;

use atb_embed::Language;
use clap::Args;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Bundle, a folder or one file
    #[arg(long)]
    bundle: PathBuf,
    /// Language of the project: `rust`, `c`, `kotlin` (Android) or `swift`
    #[arg(long)]
    lang: Language,
    /// Folder to write, which must not be there yet
    #[arg(long, short)]
    out: PathBuf,
    /// Folder of autotinybert's source code, which the project is built from; by default the one
    /// that this is run in
    #[arg(long, default_value = ".")]
    source: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let Arguments { bundle, lang, out, source } = arguments;
    atb_embed::write(*lang, bundle, source, out)?;
    display::data(&out.join("README.md").display().to_string())?;
    Ok(())
}
