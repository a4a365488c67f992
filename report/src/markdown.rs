//! The Markdown twin of the page.

use std::fmt::Write;

use crate::document::Document;

/// `document` as Markdown; plots are files beside it.
#[must_use]
pub fn markdown(document: &Document) -> String {
    let mut text = format!("# {}\n\n{}.", plain(&document.title), plain(&document.about));
    if !document.description.is_empty() {
        _ = write!(text, " {}", plain(&document.description));
    }
    if !document.cards.is_empty() {
        text.push_str("\n\n| | | |\n|---|---|---|\n");
        for card in &document.cards {
            row(&mut text, &[card.value.clone(), card.what.clone(), card.note.clone()]);
        }
    }
    for verdict in &document.verdicts {
        text.push('\n');
        // What is not good news stands out, as on the page.
        let bold = if verdict.good { "" } else { "**" };
        for line in &verdict.lines {
            _ = write!(text, "\n{bold}{}{bold}\n", plain(line));
        }
        for line in &verdict.notes {
            _ = write!(text, "\n- {}", plain(line));
        }
    }
    text.push('\n');
    for panel in &document.panels {
        _ = write!(text, "\n## {}\n\n{}\n", panel.question, plain(&panel.answer));
        for plot in &panel.plots {
            _ = write!(text, "\n![{}]({}.svg)\n", plain(&plot.chart.title), plot.name);
        }
    }
    for table in &document.tables {
        _ = write!(text, "\n## {}\n\n", table.question);
        if !table.answer.is_empty() {
            _ = write!(text, "{}\n\n", plain(&table.answer));
        }
        text.push_str(&markdown_table(&table.header, &table.rows, table.is_text));
    }
    _ = write!(
        text,
        "\nEvery number is in [figures.json](figures.json). Written by atb {}.\n",
        document.version
    );
    text
}

/// A table of Markdown; the columns from the second on are of words or of numbers.
#[must_use]
pub fn markdown_table(header: &[String], rows: &[Vec<String>], is_text: bool) -> String {
    let mut text = String::new();
    row(&mut text, header);
    let beside = if is_text { "---|" } else { "---:|" };
    _ = writeln!(text, "|---|{}", beside.repeat(header.len().saturating_sub(1)));
    for cells in rows {
        row(&mut text, cells);
    }
    text
}

fn row(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| plain(cell).replace('|', "\\|")).collect();
    _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Text that Markdown does not take for markup, on one line.
#[must_use]
pub fn plain(text: &str) -> String {
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
