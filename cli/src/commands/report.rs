//! `atb report`: a run as a page to look at.

use std::path::PathBuf;

use clap::Args;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Output folder of `atb run`. The report is written to the folder `report` in it:
    /// index.html, report.md, figures.json and the plots as SVG
    run: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let written = atb_report::write(&arguments.run)?;
    let row = |name: &str, path: PathBuf| vec![name.to_owned(), path.display().to_string()];
    let rows = vec![
        row("page", written.page),
        row("Markdown", written.markdown),
        row("figures", written.figures),
    ];
    display::data(&display::text_table(&[], rows))
}
