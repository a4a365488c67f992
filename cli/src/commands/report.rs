//! `atb report`: a run, or two beside each other, as a page to look at.

use std::path::PathBuf;

use clap::Args;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Output folder of `atb run`. The report is written to the folder `report` in it:
    /// index.html, report.md, figures.json and the plots as SVG
    run: PathBuf,
    /// Another run, to be compared with the first: what changed, and whether beyond noise. That
    /// report is written to the folder of `--out`
    #[arg(value_name = "OTHER_RUN")]
    other: Option<PathBuf>,
    /// Folder to write a comparison to
    #[arg(short, long, default_value = "atb-comparison", value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let Arguments { run, other, out } = arguments;
    let written = match other {
        Some(other) => atb_report::compare(run, other, out)?,
        None => atb_report::write(run)?,
    };
    let row = |name: &str, path: PathBuf| vec![name.to_owned(), path.display().to_string()];
    let rows = vec![
        row("page", written.page),
        row("Markdown", written.markdown),
        row("figures", written.figures),
    ];
    display::data(&display::text_table(&[], rows))
}
