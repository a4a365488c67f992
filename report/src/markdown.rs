//! The Markdown twin of the page.

use std::fmt::Write;

use crate::figures::Figures;
use crate::panels::Panel;
use crate::{tables, texts};

/// The document of `figures` and `panels`; plots are files beside it.
#[must_use]
pub fn document(figures: &Figures, panels: &[Panel]) -> String {
    let winner = &figures.winner;
    let mut text = format!(
        "# {} on {}\n\nTiny BERT, batch {}, sequence length {}.",
        winner.architecture,
        plain(&figures.target),
        figures.batch,
        figures.sequence
    );
    if let Some(words) = texts::in_words(&winner.architecture) {
        _ = write!(text, " {words}. Weights: {}.", plain(&winner.weights));
    }
    text.push_str("\n\n| | | |\n|---|---|---|\n");
    for (value, what, note) in texts::cards(figures) {
        row(&mut text, &[value, what, note]);
    }
    _ = writeln!(text, "\n{}\n", texts::verdict(figures));
    let trust = &figures.trust;
    for line in trust.objections.iter().chain(&trust.notes) {
        _ = writeln!(text, "- {}", plain(line));
    }
    for warning in &figures.warnings {
        _ = writeln!(text, "- **Warning**: {}", plain(warning));
    }
    for panel in panels {
        _ = write!(text, "\n## {}\n\n{}\n", panel.question, plain(&panel.answer));
        for plot in &panel.plots {
            _ = write!(text, "\n![{}]({}.svg)\n", plain(&plot.chart.title), plot.name);
        }
    }
    for table in tables::all(figures) {
        _ = write!(text, "\n## {}\n\n", table.question);
        if !table.answer.is_empty() {
            _ = write!(text, "{}\n\n", table.answer);
        }
        row(&mut text, &table.header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let beside = if table.is_text { "---|" } else { "---:|" };
        _ = writeln!(text, "|---|{}", beside.repeat(table.header.len() - 1));
        for cells in &table.rows {
            row(&mut text, cells);
        }
    }
    _ = write!(
        text,
        "\nEvery number is in [figures.json](figures.json). Written by atb {}.\n",
        figures.version
    );
    text
}

fn row(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| plain(cell).replace('|', "\\|")).collect();
    _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Text that Markdown does not take for markup, on one line.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in atb_settings::visible(text).chars() {
        match character {
            '\n' | '\t' => plain.push(' '),
            '*' | '_' | '`' | '<' | '[' | '#' | '\\' => {
                plain.push('\\');
                plain.push(character);
            }
            _ => plain.push(character),
        }
    }
    plain
}
