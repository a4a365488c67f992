//! What a folder lacks, repeats or has besides, compared with one that was made without
//! interruption.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

/// Largest relative difference of measured numbers, which are those of a simulated device that
/// is all but free of noise.
const TOLERANCE: f64 = 1e-4;

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    /// Something is not there.
    Lost,
    /// Something is there more than once.
    Repeated,
    /// Something has other content.
    Content,
    /// Something is there that should not be.
    Debris,
    /// The command said something else.
    Output,
}

/// Every difference of `folder` from `reference`, with what it is about.
pub(crate) fn differences(
    reference: &Path,
    folder: &Path,
) -> anyhow::Result<Vec<(Difference, String)>> {
    let (expected, found) = (files(reference)?, files(folder)?);
    let mut differences = Vec::new();
    for name in expected.difference(&found) {
        differences.push((Difference::Lost, format!("{} is missing", name.display())));
    }
    for name in found.difference(&expected) {
        differences.push((Difference::Debris, format!("{} is left over", name.display())));
    }
    for name in expected.intersection(&found) {
        let (expected, found) = (reference.join(name), folder.join(name));
        let of_file = match name.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => lines(&expected, &found)?,
            Some("json") if is_report(name) => values(&json(&expected)?, &json(&found)?),
            Some("safetensors") => (tensors(&expected)? != tensors(&found)?)
                .then(|| (Difference::Content, "other tensors".to_owned())),
            // A model card holds the latency in words.
            Some("md") => None,
            _ => (std::fs::read(&expected)? != std::fs::read(&found)?)
                .then(|| (Difference::Content, "other bytes".to_owned())),
        };
        if let Some((difference, text)) = of_file {
            differences.push((difference, format!("{}: {text}", name.display())));
        }
    }
    Ok(differences)
}

/// Header and values of a safetensors file. The order in which the header says what the file is
/// about is another each time.
fn tensors(path: &Path) -> anyhow::Result<(Value, Vec<u8>)> {
    let bytes = std::fs::read(path)?;
    let short = || format!("{} is cut short", path.display());
    let (length, rest) = bytes.split_first_chunk().with_context(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    let (header, values) = rest.split_at_checked(length).with_context(short)?;
    Ok((serde_json::from_slice(header)?, values.to_vec()))
}

/// All files below `folder`, and its empty folders.
fn files(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let mut empty = true;
        for entry in std::fs::read_dir(&next)? {
            let entry = entry?;
            empty = false;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => drop(files.insert(entry.path().strip_prefix(folder)?.to_owned())),
            }
        }
        if empty && next != folder {
            files.insert(next.strip_prefix(folder)?.to_owned());
        }
    }
    Ok(files)
}

/// Whether a file holds what was measured, or what follows from it, and so numbers that may
/// differ in their last digits.
fn is_report(name: &Path) -> bool {
    // The digests in the state follow from the other files.
    let names =
        ["report.json", "predictor.json", "predictor-updated.json", "search.json", "state.json"];
    name.file_name().and_then(|name| name.to_str()).is_some_and(|file| names.contains(&file))
}

fn json(path: &Path) -> anyhow::Result<Value> {
    serde_json::from_slice(&std::fs::read(path)?).with_context(|| path.display().to_string())
}

/// Compares what lines are about: measured architectures in any order; everything else line by
/// line.
fn lines(expected: &Path, found: &Path) -> anyhow::Result<Option<(Difference, String)>> {
    let read = |path: &Path| -> anyhow::Result<Vec<Value>> {
        let text = std::fs::read_to_string(path)?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| path.display().to_string()))
            .collect()
    };
    let (expected, found) = (read(expected)?, read(found)?);
    let (wanted, there) = (counted(&expected), counted(&found));
    for (key, count) in &wanted {
        let has = there.get(key).copied().unwrap_or(0);
        let kind = match has.cmp(count) {
            std::cmp::Ordering::Less => Difference::Lost,
            std::cmp::Ordering::Equal => continue,
            std::cmp::Ordering::Greater => Difference::Repeated,
        };
        return Ok(Some((kind, format!("{key} is there {has} times, not {count}"))));
    }
    let more = there.keys().find(|key| !wanted.contains_key(*key));
    Ok(more.map(|key| (Difference::Content, format!("{key} is there"))))
}

/// How often each line is there, by what it says; of measurements by what was measured.
fn counted(lines: &[Value]) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in lines {
        *counted.entry(key(line)).or_default() += 1;
    }
    counted
}

fn key(line: &Value) -> String {
    let mut line = line.clone();
    let Some(object) = line.as_object_mut() else { return line.to_string() };
    if let (Some(subject), Some(role)) = (object.get("subject"), object.get("role")) {
        // A model file is named by its folder and content; here it is one file.
        let subject = if subject.is_string() { subject.to_string() } else { "file".to_owned() };
        return format!("{subject} {role}");
    }
    if object.contains_key("device") {
        return "header".to_owned();
    }
    // The one value of a training's steps that another run does not repeat.
    object.remove("seconds");
    line.to_string()
}

/// The first difference of two reports, but for the last digits of numbers and for digests.
fn values(expected: &Value, found: &Value) -> Option<(Difference, String)> {
    compare("", expected, found).map(|text| (Difference::Content, text))
}

fn compare(key: &str, expected: &Value, found: &Value) -> Option<String> {
    let differs = || Some(format!("{key} is {found}, not {expected}"));
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            if !a.keys().eq(b.keys()) {
                return Some(format!("{key} has other keys"));
            }
            a.iter().find_map(|(name, value)| {
                // `computed` counts what this very run evaluated; the covariance is of noise.
                const SKIPPED: [&str; 11] = [
                    "digest",
                    "inputs",
                    "computed",
                    "path",
                    "noise",
                    "noise_floor",
                    "validation",
                    "covariance",
                    "coefficients",
                    "prediction_error",
                    "device",
                ];
                if SKIPPED.contains(&name.as_str())
                    || name.ends_with("mape")
                    || name.ends_with("interval_ms")
                {
                    return None;
                }
                compare(&format!("{key}.{name}"), value, &b[name])
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return differs();
            }
            a.iter()
                .zip(b)
                .enumerate()
                .find_map(|(index, (a, b))| compare(&format!("{key}.{index}"), a, b))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64()?, b.as_f64()?);
            let close = (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
            if close { None } else { differs() }
        }
        _ if expected == found => None,
        _ => differs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let root = tempfile::tempdir().expect("a folder");
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        for folder in [&a, &b] {
            std::fs::create_dir(folder).expect("creates");
            let lines = "{\"device\": 1}\n{\"subject\": \"1-2\", \"role\": \"sample\", \"x\": 1}\n";
            std::fs::write(folder.join("m.jsonl"), lines).expect("writes");
            std::fs::write(folder.join("report.json"), "{\"ms\": 1.0, \"winner\": \"a\"}")
                .expect("writes");
            std::fs::write(folder.join("weights"), "abc").expect("writes");
        }
        (root, a, b)
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let (_root, a, b) = folders();
        let kinds = || -> Vec<Difference> {
            differences(&a, &b).expect("compares").into_iter().map(|(kind, _)| kind).collect()
        };
        assert_eq!(kinds(), []);
        std::fs::write(b.join("report.json"), "{\"ms\": 1.00000001, \"winner\": \"a\"}")
            .expect("writes");
        assert_eq!(kinds(), []);
        std::fs::write(b.join("report.json"), "{\"ms\": 1.0, \"winner\": \"b\"}").expect("writes");
        assert_eq!(kinds(), [Difference::Content]);
        std::fs::remove_file(b.join("report.json")).expect("removes");
        assert_eq!(kinds(), [Difference::Lost]);
        std::fs::create_dir(b.join(".making-1-abcdef")).expect("creates");
        assert_eq!(kinds(), [Difference::Lost, Difference::Debris]);
        std::fs::write(b.join("weights"), "abd").expect("writes");
        assert_eq!(kinds(), [Difference::Lost, Difference::Debris, Difference::Content]);
        let (_root, a, b) = folders();
        let kinds = |lines: &str| -> Vec<Difference> {
            std::fs::write(b.join("m.jsonl"), lines).expect("writes");
            differences(&a, &b).expect("compares").into_iter().map(|(kind, _)| kind).collect()
        };
        let header = "{\"device\": 2}\n";
        let line = "{\"subject\": \"1-2\", \"role\": \"sample\", \"x\": 2}\n";
        assert_eq!(kinds(&format!("{header}{line}")), []);
        assert_eq!(kinds(&format!("{header}{line}{line}")), [Difference::Repeated]);
        assert_eq!(kinds(header), [Difference::Lost]);
        let other = line.replace("1-2", "3-4");
        assert_eq!(kinds(&format!("{header}{line}{other}")), [Difference::Content]);
    }
}
