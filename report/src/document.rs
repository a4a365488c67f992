//! What a report is made of, whatever it is about.

use atb_plots::Chart;

/// A report, ready to be laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it is about, before the title.
    pub about: String,
    /// The title.
    pub title: String,
    /// The title in other words; empty for none.
    pub description: String,
    /// The main figures.
    pub cards: Vec<Card>,
    /// What to think of them.
    pub verdicts: Vec<Verdict>,
    /// Questions with plots.
    pub panels: Vec<Panel>,
    /// Questions with tables.
    pub tables: Vec<Table>,
    /// Version of atb that wrote it.
    pub version: String,
}

/// A main figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The figure with its unit.
    pub value: String,
    /// What it is.
    pub what: String,
    /// What to know of it.
    pub note: String,
}

/// What to think of the figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether it is good news.
    pub good: bool,
    /// The verdict.
    pub lines: Vec<String>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// The question.
    pub question: String,
    /// The answer, in a sentence or two.
    pub answer: String,
    /// The plots that show it.
    pub plots: Vec<Plot>,
}

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Its name, by which its file is called.
    pub name: &'static str,
    /// Its height in pixels.
    pub height: u32,
    /// What it shows.
    pub chart: Chart,
}

/// A table under a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The question.
    pub question: String,
    /// The answer; empty where the table is all of it.
    pub answer: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
    /// Whether the cells are words rather than numbers.
    pub is_text: bool,
}
