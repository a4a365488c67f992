//! Rows of columns: GLUE's and other TSV, and CSV.

use std::path::Path;

use atb_files::without_byte_order_mark;

use super::{Columns, Rows};
use crate::TaskError;
use crate::error::Place;
use crate::task::Task;

/// TSV, in which quotation marks are characters like any other: a row is a line.
pub(super) fn tab_separated(task: &Task, path: &Path) -> Result<Rows, TaskError> {
    let bytes = fs_err::read(path)?;
    let lines = without_byte_order_mark(&bytes).split(|byte| *byte == b'\n').enumerate();
    let rows = lines.map(|(index, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (index + 1, line.split(|byte| *byte == b'\t').collect::<Vec<_>>())
    });
    let rows = rows.filter(|(_, fields)| fields.iter().any(|field| !field.is_empty()));
    read(task, path, rows, "tabs")
}

/// CSV: a column in quotation marks may hold commas, line ends and doubled quotation marks.
pub(super) fn comma_separated(task: &Task, path: &Path) -> Result<Rows, TaskError> {
    let bytes = fs_err::read(path)?;
    let bytes = without_byte_order_mark(&bytes);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let records = reader.byte_records().collect::<Result<Vec<_>, _>>();
    let records = records.map_err(|error| TaskError::Task {
        path: path.to_owned(),
        problem: error.to_string(),
        help: "write the file as CSV with commas".to_owned(),
    })?;
    let rows = records.iter().map(|record| {
        let position = record.position();
        let (line, byte) = position.map_or((1, 0), |p| (p.line() as usize, p.byte() as usize));
        // The position is the one before empty lines.
        let skipped = bytes[byte..].iter().take_while(|byte| b"\r\n".contains(byte));
        let line = line + skipped.filter(|byte| **byte == b'\n').count();
        (line, record.iter().collect())
    });
    read(task, path, rows, "commas")
}

fn read<'a>(
    task: &Task,
    path: &Path,
    mut rows: impl Iterator<Item = (usize, Vec<&'a [u8]>)>,
    separator: &'static str,
) -> Result<Rows, TaskError> {
    let text = |line: usize, field: &'a [u8]| {
        std::str::from_utf8(field)
            .map_err(|_| TaskError::NotText { place: Place::line(path, line) })
    };
    let Some((line, fields)) = rows.next() else {
        return Err(TaskError::Empty { path: path.to_owned(), header: false });
    };
    let names: Vec<&str> =
        fields.iter().map(|field| text(line, field)).collect::<Result<_, _>>()?;
    let columns = Columns::of(task, path, &names)?;
    let (mut read, mut left_out) = (Vec::new(), 0);
    let first = (!columns.header).then_some((line, fields));
    for (line, fields) in first.into_iter().chain(rows) {
        let fields: Vec<&str> =
            fields.into_iter().map(|field| text(line, field)).collect::<Result<_, _>>()?;
        match columns.row(line, |column| fields.get(column).copied()) {
            Ok(row) => read.push(row),
            Err(_) if task.damaged => left_out += 1,
            Err(column) => {
                return Err(TaskError::Columns {
                    place: Place::line(path, line),
                    found: fields.len(),
                    needed: column + 1,
                    column: columns.name(task, column),
                    separator,
                });
            }
        }
    }
    Ok(Rows { rows: read, left_out, header: columns.header })
}
