//! How results are printed: every command makes one document, which is shown in the form that is
//! asked for.

mod lines;

use atb_report::{markdown_table, plain};
use atb_settings::visible;
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use miette::IntoDiagnostic;
use serde::Serialize;

use crate::display;
pub(crate) use lines::Lines;

/// Columns that a table takes at most.
const WIDTH: u16 = 80;

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct OutputArguments {
    /// How the result is printed: `table`, within 80 columns, `json`, by the schemas in docs/schemas,
    /// `csv` or `markdown`
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    format: Format,
}

/// A form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, within 80 columns
    #[default]
    Table,
    /// Everything, unrounded
    Json,
    /// What there are many of, a line each, unrounded
    Csv,
    /// The tables, for a document
    Markdown,
}

/// What a command found out. As JSON it is everything, with the version of its schema.
pub(crate) trait Document: Serialize {
    /// The parts that people read.
    fn parts(&self) -> Vec<Part>;

    /// The lines of its CSV.
    fn lines(&self) -> serde_json::Result<Lines>;
}

/// A part of what people read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// A table of numbers; the first column names what they are of.
    Numbers {
        /// Names of the columns.
        header: Vec<String>,
        /// The cells.
        rows: Vec<Vec<String>>,
    },
    /// A table of words.
    Words {
        /// Names of the columns.
        header: Vec<String>,
        /// The cells.
        rows: Vec<Vec<String>>,
    },
    /// Names and what there is to say of each.
    Named(Vec<(String, String)>),
    /// Lines of text.
    Text(Vec<String>),
}

impl Part {
    /// A table of numbers.
    pub(crate) fn numbers(header: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self::Numbers { header: header.iter().map(|&name| name.to_owned()).collect(), rows }
    }

    /// Names and what there is to say of each.
    pub(crate) fn named<N: Into<String>>(rows: impl IntoIterator<Item = (N, String)>) -> Self {
        Self::Named(rows.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    fn text(&self) -> String {
        match self {
            Self::Numbers { header, rows } => columns(header, rows, CellAlignment::Right),
            Self::Words { header, rows } => columns(header, rows, CellAlignment::Left),
            Self::Named(rows) => {
                let mut table = plain_table();
                table.add_rows(rows.iter().map(|(name, value)| [visible(name), visible(value)]));
                for column in table.column_iter_mut() {
                    column.set_padding((0, 2));
                }
                table.trim_fmt()
            }
            Self::Text(lines) => visible(&lines.join("\n")),
        }
    }

    fn markdown(&self) -> String {
        match self {
            Self::Numbers { header, rows } => markdown_table(header, rows, false),
            Self::Words { header, rows } => markdown_table(header, rows, true),
            Self::Named(rows) => {
                let rows: Vec<Vec<String>> =
                    rows.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
                markdown_table(&[String::new(), String::new()], &rows, true)
            }
            Self::Text(lines) => lines
                .iter()
                .map(|line| format!("- {}", plain(line.trim())))
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// A table without borders; the columns from the second on are aligned so.
fn columns(header: &[String], rows: &[Vec<String>], alignment: CellAlignment) -> String {
    let mut table = plain_table();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(header.to_vec());
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| visible(cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        match column.index {
            // Names are whole.
            0 => drop(column.set_constraint(ColumnConstraint::ContentWidth)),
            _ => column.set_cell_alignment(alignment),
        }
    }
    table.trim_fmt()
}

/// The document as people read it on a terminal.
pub(crate) fn text(document: &impl Document) -> String {
    document.parts().iter().map(Part::text).collect::<Vec<_>>().join("\n\n")
}

/// The document as Markdown.
fn markdown(document: &impl Document) -> String {
    let parts = document.parts();
    let parts: Vec<String> =
        parts.iter().map(|part| part.markdown().trim_end().to_owned()).collect();
    parts.join("\n\n")
}

impl OutputArguments {
    /// Prints a document in the form that was asked for.
    pub(crate) fn print(self, document: &impl Document) -> miette::Result<()> {
        let text = match self.format {
            Format::Table => text(document),
            Format::Json => serde_json::to_string_pretty(document).into_diagnostic()?,
            Format::Csv => document.lines().into_diagnostic()?.to_string(),
            Format::Markdown => markdown(document),
        };
        match text.trim_end() {
            "" => Ok(()),
            text => display::data(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Found {
        schema: u32,
        models: Vec<Model>,
    }

    #[derive(Serialize)]
    struct Model {
        name: String,
        ms: f64,
        interval: Option<(f64, f64)>,
    }

    impl Document for Found {
        fn parts(&self) -> Vec<Part> {
            let row = |model: &Model| vec![model.name.clone(), format!("{:.1}", model.ms)];
            vec![
                Part::numbers(&["name", "ms"], self.models.iter().map(row).collect()),
                Part::named([("models", self.models.len().to_string())]),
            ]
        }

        fn lines(&self) -> serde_json::Result<Lines> {
            Lines::of(&self.models)
        }
    }

    fn found(name: &str) -> Found {
        let models = vec![
            Model { name: name.to_owned(), ms: 1.25, interval: Some((1.0, 1.5)) },
            Model { name: "b".to_owned(), ms: 1.0 / 3.0, interval: None },
        ];
        Found { schema: 1, models }
    }

    #[test]
    fn every_form_of_a_document() {
        let found = found("a|b, \"c\"");
        insta::assert_snapshot!(text(&found), @r#"
        name       ms
        a|b, "c"  1.2
        b         0.3

        models  2
        "#);
        insta::assert_snapshot!(markdown(&found), @r#"
        | name | ms |
        |---|---:|
        | a\|b, "c" | 1.2 |
        | b | 0.3 |

        |  |  |
        |---|---|
        | models | 2 |
        "#);
        let csv = found.lines().expect("lines").to_string();
        insta::assert_snapshot!(csv, @r#"
        name,ms,interval
        "a|b, ""c""",1.25,1 1.5
        b,0.3333333333333333,
        "#);
    }

    #[test]
    fn cells_do_not_steer_the_terminal_and_start_no_markup() {
        let found = found("\u{1b}[2J<b>device");
        assert!(text(&found).contains("\\u{1b}[2J<b>device"));
        assert!(markdown(&found).contains("\\<b>device") && !markdown(&found).contains('\u{1b}'));
        let csv = found.lines().expect("lines").to_string();
        assert!(csv.contains("\\u{1b}[2J<b>device"), "{csv}");
    }

    #[test]
    fn no_table_is_wider_than_a_terminal() {
        let long = "12-768-3072-12-768 ".repeat(3);
        let rows = vec![vec!["12-768-3072-12-768".to_owned(), long.clone(), long.clone(), long]];
        let header = ["architecture", "ms", "loss", "above the best"];
        let table = Part::numbers(&header, rows).text();
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= usize::from(WIDTH)), "{table}");
        assert!(table.contains("\n12-768-3072-12-768 "), "{table}");
    }
}
