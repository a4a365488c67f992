//! What people look at: a run as one page, with a Markdown twin and all of its figures.
//!
//! [`write`] reads a run's folder and makes the folder `report` in it:
//!
//! | file | what it is |
//! |---|---|
//! | `index.html` | the page; it needs no network and no other file |
//! | `report.md` | the same in Markdown, with the plots beside it |
//! | `figures.json` | every number of both, as [`Figures`] |
//! | `*.svg` | the plots |
//!
//! [`Figures::of_run`] reads, [`panels`] turns figures into questions, answers and
//! plots, and the page and its twin lay those out: none of the later steps computes a figure.

mod error;
mod figures;
mod gather;
mod markdown;
mod page;
mod panels;
mod tables;
mod texts;

use std::path::{Path, PathBuf};

use atb_plots::Size;

pub use error::ReportError;
pub use figures::{
    Evaluated, FIGURES_SCHEMA, Figures, Finalist, Moment, Part, Predicted, Runs, Sized, Trust,
    Winner,
};
pub use markdown::document;
pub use page::page;
pub use panels::{Panel, Plot, panels};

/// The folder of a run's report, in the run's.
pub const FOLDER: &str = "report";

/// Where a report was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub page: PathBuf,
    /// Its Markdown twin.
    pub markdown: PathBuf,
    /// The figures of both.
    pub figures: PathBuf,
}

/// Writes the report of the run in `run` to the folder [`FOLDER`] in it.
///
/// # Errors
/// [`ReportError`] if `run` holds no finished run, a file of it cannot be read, or the report
/// cannot be written. Each file of an earlier report is replaced as a whole.
pub fn write(run: &Path) -> Result<Written, ReportError> {
    let figures = Figures::of_run(run)?;
    let panels = panels(&figures);
    let folder = run.join(FOLDER);
    fs_err::create_dir_all(&folder)?;
    let within = |name: &str| folder.join(name);
    for plot in panels.iter().flat_map(|panel| &panel.plots) {
        let drawing = plot.chart.file(Size::WIDE.of_height(plot.height));
        atb_files::write(&within(&format!("{}.svg", plot.name)), drawing.as_bytes())?;
    }
    atb_files::write_json(&within("figures.json"), &figures)?;
    atb_files::write(&within("report.md"), document(&figures, &panels).as_bytes())?;
    atb_files::write(&within("index.html"), page(&figures, &panels).as_bytes())?;
    Ok(Written {
        page: folder.join("index.html"),
        markdown: folder.join("report.md"),
        figures: folder.join("figures.json"),
    })
}
