//! What people look at: a run as one page, with a Markdown twin and all of its figures.
//!
//! [`write()`] reads a run's folder and makes the folder `report` in it:
//!
//! | file | what it is |
//! |---|---|
//! | `index.html` | the page; it needs no network and no other file |
//! | `report.md` | the same in Markdown, with the plots beside it |
//! | `figures.json` | every number of both, as [`Figures`] |
//! | `*.svg` | the plots |
//!
//! [`Figures::of_run`] reads, [`of_run`] makes questions, answers, plots and tables of the figures,
//! [`page`] and [`markdown`] lay those out: none of the later steps computes a figure.

mod beside;
mod comparison;
mod document;
mod error;
mod figures;
mod gather;
mod markdown;
mod page;
mod panels;
mod run;
mod tables;
mod texts;

use std::path::{Path, PathBuf};

use atb_plots::Size;
use serde::Serialize;

pub use comparison::{Both, COMPARISON_SCHEMA, Change, Comparison};
pub use document::{Card, Document, Panel, Plot, Table, Verdict};
pub use error::ReportError;
pub use figures::{
    AtLength, Curve, Evaluated, FIGURES_SCHEMA, Figures, Finalist, Moment, Part, Predicted, Runs,
    Sized, TaskScore, Training, Trust, Variant, Winner,
};
pub use markdown::{markdown, markdown_table, plain};
pub use page::page;
pub use run::of_run;

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

/// Writes the report of the run in `run` to the folder [`FOLDER`] in it, with the trainings in the
/// folders `trainings`. What lies in the run's folder is shown as well: the training `training`,
/// `evaluation.json`, which is what `atb evaluate --format json` prints, and `variants.json`, which
/// is what `atb export --variants all --format json` prints.
///
/// # Errors
/// [`ReportError`] if `run` holds no finished run, a file of it cannot be read, or the report
/// cannot be written. Each file of an earlier report is replaced as a whole.
pub fn write(run: &Path, trainings: &[PathBuf]) -> Result<Written, ReportError> {
    let mut figures = Figures::of_run(run)?;
    for folder in trainings {
        figures.trainings.push(beside::training(folder)?);
    }
    lay_out(&run.join(FOLDER), &of_run(&figures), &figures)
}

/// Writes the comparison of the runs in `first` and `second` to `folder`.
///
/// # Errors
/// As [`write()`].
pub fn compare(
    first: &Path,
    second: &Path,
    folder: &Path,
) -> Result<(Written, Comparison), ReportError> {
    let names = (first.display().to_string(), second.display().to_string());
    let comparison = Comparison::of(names, &Figures::of_run(first)?, &Figures::of_run(second)?);
    let written = lay_out(folder, &comparison.document(), &comparison)?;
    Ok((written, comparison))
}

/// Writes `document` with its plots, and the figures of it, to `folder`.
///
/// # Errors
/// [`ReportError::File`] or [`ReportError::Io`] if they cannot be written.
pub fn lay_out(
    folder: &Path,
    document: &Document,
    figures: &impl Serialize,
) -> Result<Written, ReportError> {
    fs_err::create_dir_all(folder)?;
    let within = |name: &str| folder.join(name);
    for plot in document.panels.iter().flat_map(|panel| &panel.plots) {
        let drawing = plot.chart.file(Size::WIDE.of_height(plot.height));
        atb_files::write(&within(&format!("{}.svg", plot.name)), drawing.as_bytes())?;
    }
    let written = Written {
        page: within("index.html"),
        markdown: within("report.md"),
        figures: within("figures.json"),
    };
    atb_files::write_json(&written.figures, figures)?;
    atb_files::write(&written.markdown, markdown(document).as_bytes())?;
    atb_files::write(&written.page, page(document).as_bytes())?;
    Ok(written)
}
