//! JSON Lines: an object a line, its keys the columns.

use std::path::Path;

use atb_files::{JsonProblem, without_byte_order_mark};
use serde_json::{Map, Value};

use super::{Row, Rows};
use crate::TaskError;
use crate::error::Place;
use crate::task::Task;

pub(super) fn read(task: &Task, path: &Path) -> Result<Rows, TaskError> {
    let bytes = fs_err::read(path)?;
    let lines = without_byte_order_mark(&bytes).split(|byte| *byte == b'\n').enumerate();
    let mut rows = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        rows.push(row(task, path, index + 1, line)?);
    }
    Ok(Rows { rows, left_out: 0, header: false })
}

fn row(task: &Task, path: &Path, line: usize, bytes: &[u8]) -> Result<Row, TaskError> {
    let place = || Place::line(path, line);
    let object: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| TaskError::Row {
            place: place(),
            problem: format!("no JSON object: {}", JsonProblem::from(error).message()),
            help: "write one JSON object a line",
        })?;
    let value = |key: &String| {
        object.get(key).ok_or_else(|| TaskError::NoKey {
            place: place(),
            key: key.clone(),
            known: object.keys().take(40).cloned().collect(),
        })
    };
    let text = |key: &String| match value(key)? {
        Value::String(text) => Ok(text.clone()),
        _ => Err(TaskError::Row {
            place: place(),
            problem: format!("`{key}` is no text"),
            help: "write texts in quotation marks",
        }),
    };
    // A label or score may be a number or a truth value as well.
    let target = |key: &String| match value(key)? {
        Value::String(text) => Ok(text.trim().to_owned()),
        value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
        _ => Err(TaskError::Row {
            place: place(),
            problem: format!("`{key}` is neither a text nor a number"),
            help: "write a label as a text, a score as a number",
        }),
    };
    Ok(Row {
        line,
        first: text(&task.first)?,
        second: task.second.as_ref().map(text).transpose()?,
        target: task.target.as_ref().map(target).transpose()?,
    })
}
