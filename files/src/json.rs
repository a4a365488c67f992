//! Files that are one JSON document, and the schema that every format carries.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::FileError;

/// Refuses what was written by a newer version: `found` is the `schema` of the file that
/// messages call `origin`, `known` the newest schema that this version reads.
///
/// # Errors
/// [`FileError::NewerSchema`].
pub fn check_schema(origin: impl ToString, found: u64, known: u32) -> Result<(), FileError> {
    if found > u64::from(known) {
        return Err(FileError::NewerSchema { origin: origin.to_string(), found, known });
    }
    Ok(())
}

/// Reads the JSON file `path`, whose `schema` must not be newer than `known`. A byte-order
/// mark is skipped.
///
/// # Errors
/// [`FileError`] naming the file and, where it is no such document, line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path, known: u32) -> Result<T, FileError> {
    let bytes = fs_err::read(path)?;
    tracing::info!(path = %path.display(), bytes = bytes.len(), "read a file");
    parse_json(path, &bytes, known)
}

/// As [`read_json`], of the bytes of the file `path`.
///
/// # Errors
/// As [`read_json`].
pub fn parse_json<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    known: u32,
) -> Result<T, FileError> {
    #[derive(Deserialize)]
    struct Version {
        schema: Option<u64>,
    }
    let bytes = without_byte_order_mark(bytes);
    let problem =
        |error: serde_json::Error| FileError::Json { path: path.to_owned(), problem: error.into() };
    let version: Version = serde_json::from_slice(bytes).map_err(problem)?;
    check_schema(path.display(), version.schema.unwrap_or_default(), known)?;
    serde_json::from_slice(bytes).map_err(problem)
}

/// Writes `value` to the file `path` as indented JSON, through a temporary file.
///
/// # Errors
/// If it cannot be written; the file is then as it was before.
pub fn write_json(path: &Path, value: &(impl Serialize + ?Sized)) -> std::io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    crate::write(path, &text)
}

/// A value in which two JSON documents differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its key with those of the objects around it, as in `drift.window`; empty if the documents
    /// as a whole have nothing in common.
    pub key: String,
    /// What the first has there.
    pub there: String,
    /// What the second has there.
    pub here: String,
}

/// The first value in which two JSON documents differ.
#[must_use]
pub fn difference(there: &Value, here: &Value) -> Option<Difference> {
    within("", there, here)
}

fn within(key: &str, there: &Value, here: &Value) -> Option<Difference> {
    match (there, here) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().find_map(|(name, there)| {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                within(&key, there, &b[name])
            })
        }
        _ if there == here => None,
        _ => Some(Difference {
            key: key.to_owned(),
            there: there.to_string(),
            here: here.to_string(),
        }),
    }
}

/// The bytes without the UTF-8 byte-order mark that some editors put before them.
#[must_use]
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Numbers {
        schema: u32,
        numbers: Vec<u32>,
    }

    #[test]
    fn the_first_difference_is_named_by_its_key() {
        let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let there = json(r#"{"a": {"b": 1, "c": [1]}, "d": null}"#);
        assert_eq!(difference(&there, &there), None);
        let found = |here: &str| {
            let Difference { key, there, here } = difference(&there, &json(here)).expect("differs");
            format!("{key}: {there}, {here}")
        };
        assert_eq!(found(r#"{"a": {"b": 1, "c": [2]}, "d": 3}"#), "a.c: [1], [2]");
        assert_eq!(found(r#"{"a": {"b": 1}, "d": null}"#), r#"a: {"b":1,"c":[1]}, {"b":1}"#);
    }

    #[test]
    fn json_is_read_back_and_errors_name_the_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers.json");
        let numbers = Numbers { schema: 1, numbers: vec![1, 2] };
        write_json(&path, &numbers).expect("writes");
        let text = fs_err::read_to_string(&path).expect("reads");
        assert!(text.ends_with("}\n"));
        assert_eq!(read_json::<Numbers>(&path, 1).expect("reads"), numbers);
        fs_err::write(&path, format!("\u{feff}{text}")).expect("writes");
        assert_eq!(read_json::<Numbers>(&path, 1).expect("skips the mark"), numbers);
        let error = |text: &str| {
            fs_err::write(&path, text).expect("writes");
            let error = read_json::<Numbers>(&path, 1).expect_err("refused").to_string();
            error.replace(&path.display().to_string(), "numbers.json")
        };
        // What a newer version added is no reason to speak of anything but the version.
        assert_eq!(
            error("{\"schema\": 7, \"figures\": []}"),
            "numbers.json has schema 7, this version of atb reads up to 1"
        );
        assert_eq!(
            error("{\"schema\": 1,\n \"numbers\": [1, \"2\"]}"),
            "numbers.json: line 2, column 19: invalid type: string \"2\", expected u32"
        );
        assert_eq!(error("{}"), "numbers.json: line 1, column 2: missing field `schema`");
    }
}
