//! `atb report`: a run, or two beside each other, as a page to look at.

use std::path::PathBuf;

use atb_report::{Comparison, Written};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{Document, Lines, OutputArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Output folder of `atb run`. The report is written to the folder `report` in it:
    /// index.html, report.md, figures.json and the plots as SVG. If it holds evaluation.json (what
    /// `atb evaluate --format json` prints), variants.json (of `atb export --variants all`) or the
    /// folder training of `atb train`, these are in it
    run: PathBuf,
    /// Another run, to be compared with the first: what changed, and whether beyond noise. That
    /// report is written to the folder of `--out`
    #[arg(value_name = "OTHER_RUN")]
    other: Option<PathBuf>,
    /// Folder of a training whose curves are shown as well, as `atb train` and `atb finetune` leave
    /// it; may be given several times
    #[arg(long, value_name = "FOLDER", conflicts_with = "other")]
    training: Vec<PathBuf>,
    /// Folder to write a comparison to
    #[arg(short, long, default_value = "atb-comparison", value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Where a report is, and what two runs differ in, as `atb report --format json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reported {
    /// Version of the schema: 1.
    schema: u32,
    /// The page.
    page: String,
    /// The same in Markdown.
    markdown: String,
    /// Every number of both.
    figures: String,
    /// The comparison of two runs; null of one.
    comparison: Option<Comparison>,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let Arguments { run, other, training, out, output } = arguments;
    let (Written { page, markdown, figures }, comparison) = match other {
        Some(other) => {
            let (written, comparison) = atb_report::compare(run, other, out)?;
            (written, Some(comparison))
        }
        None => (atb_report::write(run, training)?, None),
    };
    output.print(&Reported {
        schema: 1,
        page: page.display().to_string(),
        markdown: markdown.display().to_string(),
        figures: figures.display().to_string(),
        comparison,
    })
}

impl Document for Reported {
    fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        if let Some(comparison) = &self.comparison {
            let document = comparison.document();
            for verdict in document.verdicts {
                parts.push(Part::Text(verdict.lines));
            }
            for table in document.tables {
                parts.push(match table.is_text {
                    true => Part::Words { header: table.header, rows: table.rows },
                    false => Part::Numbers { header: table.header, rows: table.rows },
                });
            }
        }
        let files =
            [("page", &self.page), ("Markdown", &self.markdown), ("figures", &self.figures)];
        parts.push(Part::named(files.map(|(name, path)| (name, path.clone()))));
        parts
    }

    fn lines(&self) -> serde_json::Result<Lines> {
        match &self.comparison {
            Some(comparison) => Lines::of(&comparison.changes),
            None => Lines::of(std::slice::from_ref(self)),
        }
    }
}
