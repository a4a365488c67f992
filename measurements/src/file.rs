//! The measurement file: JSON Lines, a header and one record a line, append-only.

use std::path::{Path, PathBuf};

use atb_files::{Difference, JsonLines, TornLine, difference};
use atb_settings::{Check, Checked};
use serde::{Deserialize, Serialize};

use crate::{
    AgentContext, DeviceContext, Failure, FileError, Protocol, Record, Statistics, median,
};

/// Version of the file's schema; a file of a newer one is refused.
pub const SCHEMA: u32 = 1;

/// The first line of a measurement file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the schema, [`SCHEMA`] when written by this version.
    pub schema: u32,
    /// Name of the target.
    pub target: String,
    /// The protocol of every record.
    pub protocol: Protocol,
    /// The device as it was when the file was begun.
    pub device: DeviceContext,
    /// The agent that measured.
    pub agent: AgentContext,
}

impl Checked for Header {
    fn check(&self, at: &mut Check) {
        at.nested("protocol", &self.protocol);
    }
}

/// A measurement file, read whole.
#[derive(Clone, Debug)]
pub struct MeasurementFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its first line.
    pub header: Header,
    /// Its records, in the order they were measured.
    pub records: Vec<Record>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
    /// The incomplete last line, if there is one; it is not among the records.
    pub torn: Option<TornLine>,
    /// Numbers of the lines that repeat an earlier one sample by sample. They are copies, not
    /// second measurements, and not among the records; but for those of a simulated device.
    pub copies: Vec<usize>,
    /// SHA-256 of the file's complete lines, in hexadecimal.
    pub digest: String,
    reference_ms: f64,
    /// The line of each record, from 1.
    lines: Vec<usize>,
}

/// A line that tells of a failure instead of a measurement.
#[derive(Deserialize)]
struct Kind {
    failure: Option<serde::de::IgnoredAny>,
}

impl MeasurementFile {
    /// Reads a measurement file. An incomplete last line is left out and reported in
    /// [`MeasurementFile::torn`].
    ///
    /// # Errors
    /// [`FileError`] naming the file, and the line where one is at fault.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(&JsonLines::read(path)?)
    }

    /// Reads the file at `path` that measurements of `target` by `protocol` are to go on in; none
    /// if they are to begin it.
    ///
    /// # Errors
    /// As [`MeasurementFile::read`], and [`FileError::OtherContext`] if it is of another target or
    /// protocol.
    pub fn read_to_continue(
        path: &Path,
        target: &str,
        protocol: &Protocol,
    ) -> Result<Option<Self>, FileError> {
        let lines = JsonLines::read_or_empty(path)?;
        if lines.is_empty() {
            lines.check_beginning(b"{\"schema\":")?;
            return Ok(None);
        }
        let file = Self::parse(&lines)?;
        check_plan(path, &file.header, target, protocol)?;
        Ok(Some(file))
    }

    pub(crate) fn parse(file: &JsonLines) -> Result<Self, FileError> {
        let path = file.path();
        let header: Header = file.header(SCHEMA, "a measurement header")?;
        header.checked().map_err(|problem| FileError::Header { path: path.to_owned(), problem })?;
        let (mut records, mut record_lines) = (Vec::<Record>::new(), Vec::new());
        let (mut failures, mut copies) = (Vec::new(), Vec::new());
        for line in file.lines() {
            const RECORD: &str = "a measurement record";
            let kind: Kind = line.parse(RECORD)?;
            if kind.failure.is_some() {
                failures.push(line.parse(RECORD)?);
                continue;
            }
            let record: Record = line.parse(RECORD)?;
            let line = line.number;
            Statistics::of(&record).map_err(|problem| FileError::Samples {
                path: path.to_owned(),
                line,
                problem,
            })?;
            // A simulated device draws the same in every session: what it repeats was measured
            // again, by a session that continued an interrupted one.
            if !header.device.simulated && records.contains(&record) {
                copies.push(line);
                continue;
            }
            records.push(record);
            record_lines.push(line);
        }
        let references: Vec<f64> =
            records.iter().flat_map(|record| &record.reference_us).copied().collect();
        Ok(Self {
            path: path.to_owned(),
            header,
            reference_ms: median(&references).unwrap_or(f64::NAN) / 1000.0,
            records,
            failures,
            lines: record_lines,
            torn: file.torn(),
            copies,
            digest: file.digest(),
        })
    }

    /// The reference model's typical latency on this device, in milliseconds: the median
    /// of all its runs in the file.
    ///
    /// # Errors
    /// [`FileError::Empty`] if nothing was measured yet.
    pub fn reference_ms(&self) -> Result<f64, FileError> {
        if self.records.is_empty() {
            return Err(FileError::Empty { path: self.path.clone() });
        }
        Ok(self.reference_ms)
    }

    /// A record's latency in milliseconds: its paired ratio times
    /// [`MeasurementFile::reference_ms`], so that all records of a file compare although
    /// the device changed its speed between them.
    ///
    /// # Errors
    /// As [`MeasurementFile::reference_ms`], or if the record's samples are no times.
    pub fn latency_ms(&self, record: &Record) -> Result<f64, FileError> {
        Ok(self.statistics(record)?.ratio * self.reference_ms()?)
    }

    /// The share of the agent's time in which no model ran: building models, cooling down,
    /// reading sensors; `None` if the agent did not note its time.
    #[must_use]
    pub fn overhead(&self) -> Option<f64> {
        let elapsed_ms: f64 = self.records.iter().map(|record| record.elapsed_ms).sum();
        let known = self.records.iter().filter(|record| record.elapsed_ms > 0.0);
        let inference_ms: f64 = known.map(Record::inference_ms).sum();
        (elapsed_ms > 0.0).then(|| 1.0 - inference_ms / elapsed_ms)
    }

    /// The statistics of one of the file's records.
    ///
    /// # Errors
    /// [`FileError::Samples`] naming the record's line if its samples are no times.
    pub fn statistics(&self, record: &Record) -> Result<Statistics, FileError> {
        Statistics::of(record).map_err(|problem| FileError::Samples {
            path: self.path.clone(),
            line: self
                .records
                .iter()
                .position(|known| known == record)
                .and_then(|index| self.lines.get(index).copied())
                .unwrap_or(1),
            problem,
        })
    }
}

/// Refuses to go on in the file `path`, which begins with `there`, with measurements of another
/// target or by another protocol.
pub(crate) fn check_plan(
    path: &Path,
    there: &Header,
    target: &str,
    protocol: &Protocol,
) -> Result<(), FileError> {
    if there.target != target {
        return other_context(path, "target", &there.target, target);
    }
    let json = |protocol: &Protocol| serde_json::to_value(protocol).unwrap_or_default();
    match difference(&json(&there.protocol), &json(protocol)) {
        Some(Difference { key, there, here }) => {
            other_context(path, &format!("protocol: `{key}`"), &there, &here)
        }
        None if there.protocol != *protocol => other_context(path, "protocol", "one", "another"),
        None => Ok(()),
    }
}

pub(crate) fn other_context(
    path: &Path,
    what: &str,
    there: &str,
    here: &str,
) -> Result<(), FileError> {
    Err(FileError::OtherContext {
        path: path.to_owned(),
        what: what.to_owned(),
        there: there.to_owned(),
        here: here.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contents, MeasurementWriter, Role, Subject};
    use fs_err as fs;

    fn header() -> Header {
        Header {
            schema: SCHEMA,
            target: "local".to_owned(),
            protocol: Protocol::default(),
            device: DeviceContext::default(),
            agent: AgentContext::default(),
        }
    }

    fn record(id: &str, sample_us: f64) -> Record {
        Record {
            samples_us: vec![sample_us; 3],
            reference_us: vec![1000.0; 3],
            ..Record::new(Subject::architecture(id.parse().expect(id)), Role::Sample)
        }
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("m.jsonl");
        let (mut writer, none) = MeasurementWriter::open(&path, &header()).expect("begins");
        assert_eq!(none, Contents::default());
        writer.append(&record("1-128-512-2-128", 500.0)).expect("appends");
        writer.append(&record("2-128-512-2-128", 900.0)).expect("appends");
        path
    }

    #[test]
    fn reads_back_what_was_appended() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = MeasurementFile::read(&written(folder.path())).expect("reads");
        assert_eq!(file.header, header());
        assert_eq!(file.records.len(), 2);
        assert_eq!(file.records[1], record("2-128-512-2-128", 900.0));
        assert_eq!(file.reference_ms().expect("measured"), 1.0);
        assert_eq!(file.latency_ms(&file.records[1]).expect("measured"), 0.9);
        assert_eq!(file.torn, None);
    }

    #[test]
    fn a_torn_last_line_is_reported_then_cut_off_and_nothing_else_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path());
        let whole = fs::read(&path).expect("reads");
        let first_record = whole.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
        for cut in first_record..whole.len() {
            fs::write(&path, &whole[..cut]).expect("writes");
            let file = MeasurementFile::read(&path).expect("a torn file is readable");
            let complete = whole[..cut].iter().filter(|byte| **byte == b'\n').count() - 1;
            assert_eq!(file.records.len(), complete);
            assert_eq!(file.torn.is_some(), whole[cut - 1] != b'\n');
        }
        let (mut writer, kept) = MeasurementWriter::open(&path, &header()).expect("opens");
        assert_eq!(kept.records.len(), 1);
        writer.append(&record("2-128-512-2-128", 900.0)).expect("appends");
        assert_eq!(fs::read(&path).expect("reads"), whole);
    }

    #[test]
    fn errors_name_the_line_and_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path());
        let text = fs::read_to_string(&path).expect("reads");
        let error = |text: String| {
            fs::write(&path, text).expect("writes");
            let message = MeasurementFile::read(&path).expect_err("invalid").to_string();
            message.replace(&path.display().to_string(), "m.jsonl")
        };
        assert!(error(text.replacen("900.0", "-900.0", 1)).starts_with(
            "m.jsonl: line 3: 2-128-512-2-128 has the sample -900.0 in samples_us at index 0"
        ));
        assert!(
            error(text.replacen("\"role\"", "\"roll\"", 1))
                .starts_with("m.jsonl: line 2 is not a measurement record: missing field `role`")
        );
        assert_eq!(
            error(text.replacen("\"schema\":1", "\"schema\":99", 1)),
            "m.jsonl: line 1 has schema 99, this version of atb reads up to 1"
        );
        assert!(error("hello\n".to_owned()).starts_with("m.jsonl: line 1 is not a measurement"));
        assert!(error(String::new()).contains("line 1"));
        assert_eq!(
            error(text.replacen("\"sequence\":128", "\"sequence\":0", 1)),
            "m.jsonl: line 1: `protocol.workload.sequence` is 0, expected 1 to 8192"
        );
        assert!(
            error(text.replacen("500.0", "1e308", 1))
                .starts_with("m.jsonl: line 2: 1-128-512-2-128 has the sample 1e308 in samples_us")
        );
    }

    #[test]
    fn failures_are_kept_beside_the_records_and_lines_are_counted_right() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path());
        let (mut writer, _) = MeasurementWriter::open(&path, &header()).expect("opens");
        let failure = Failure {
            subject: Subject::architecture("8-768-3072-12-768".parse().expect("parses")),
            role: Role::Sample,
            failure: "it ended the agent".to_owned(),
        };
        writer.append_failure(&failure).expect("appends");
        writer.append(&record("3-128-512-2-128", 1300.0)).expect("appends");
        let file = MeasurementFile::read(&path).expect("reads");
        assert_eq!((file.records.len(), &file.failures[..]), (3, &[failure][..]));
        let (_, contents) = MeasurementWriter::open(&path, &header()).expect("opens");
        assert_eq!(contents.failures, file.failures);
        let mut broken = file.clone();
        broken.records[2].samples_us.clear();
        broken.records[2].reference_us.clear();
        let error = broken.statistics(&broken.records[2]).expect_err("no samples").to_string();
        assert!(error.contains("line 5"), "{error}");
    }

    #[test]
    fn a_copied_line_is_no_second_measurement() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path());
        let text = fs::read_to_string(&path).expect("reads");
        let last = text.lines().last().expect("a record").to_owned();
        fs::write(&path, format!("{text}{last}\n")).expect("writes");
        let file = MeasurementFile::read(&path).expect("reads");
        assert_eq!((file.records.len(), &file.copies[..]), (2, &[4][..]));
        let verdict = crate::Verdict::of(&file).expect("judges");
        assert_eq!(verdict.repeats, None);
        assert!(verdict.notes.iter().any(|note| note.starts_with("line 4 repeats an earlier")));
    }

    #[test]
    fn what_a_simulated_device_repeats_was_measured_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.jsonl");
        let device = DeviceContext { simulated: true, ..DeviceContext::default() };
        let header = Header { device, ..header() };
        for _ in 0..2 {
            let (mut writer, _) = MeasurementWriter::open(&path, &header).expect("opens");
            writer.append(&record("1-128-512-2-128", 500.0)).expect("appends");
        }
        let file = MeasurementFile::read(&path).expect("reads");
        assert_eq!((file.records.len(), &file.copies[..]), (2, &[][..]));
    }

    #[test]
    fn the_overhead_is_what_is_not_inference() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = MeasurementFile::read(&written(folder.path())).expect("reads");
        assert_eq!(file.overhead(), None, "files of before do not say");
        // Three runs of 0.5 ms and three of 1 ms: 4.5 ms of inference.
        file.records[0].elapsed_ms = 9.0;
        assert_eq!(file.overhead(), Some(0.5));
    }

    #[test]
    fn another_context_is_not_mixed_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path());
        let other = Header { target: "pixel".to_owned(), ..header() };
        let error = MeasurementWriter::open(&path, &other).expect_err("refused").to_string();
        assert!(error.contains("another target (local, now pixel)"), "{error}");
        let protocol = Protocol { threads: 2, ..Protocol::default() };
        let other = Header { protocol, ..header() };
        let error = MeasurementWriter::open(&path, &other).expect_err("refused").to_string();
        assert!(error.contains("another protocol"), "{error}");
    }
}
