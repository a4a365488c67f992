//! The measurement file: JSON Lines, a header and one record a line, append-only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    AgentContext, DeviceContext, Failure, Protocol, Record, SampleError, Statistics, median,
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

/// Why a measurement file could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FileError {
    /// the file system said no
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// a file of a newer version
    #[error("{}: line 1 has schema {found}, this version reads up to {SCHEMA}; hint: use a newer version of atb", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
    },
    /// no header
    #[error("{}: line 1 is not a measurement header: {problem}; hint: measurement files are written by `atb profile`", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// a line that is no record
    #[error("{}: line {line} is not a measurement record: {problem}; hint: delete that line to go on without it", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// a record whose samples are none
    #[error("{}: line {line}: {source}; hint: delete that line to go on without it", path.display())]
    Samples {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        source: SampleError,
    },
    /// no record that gives the reference model's latency
    #[error("{} holds no measurement; hint: run `atb profile` to its end", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// measurements that do not belong together
    #[error("{}: was measured with another {what} ({there}, now {here}); hint: choose another file or move this one away", path.display())]
    OtherContext {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// Its value in the file.
        there: String,
        /// Its value now.
        here: String,
    },
}

/// An incomplete last line, as an interrupted write leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornLine {
    /// The line, from 1.
    pub line: usize,
    /// Offset of its first byte.
    pub offset: u64,
}

/// The line as it stands in the file: a record and, for other readers, its statistics.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a Record,
    statistics: Option<Statistics>,
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
        let bytes =
            fs::read(path).map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut lines = bytes[..complete].split(|byte| *byte == b'\n').enumerate();
        let header = parse_header(path, lines.next().map_or(&[][..], |(_, line)| line))?;
        let (mut records, mut record_lines) = (Vec::new(), Vec::new());
        let mut failures: Vec<Failure> = Vec::new();
        for (index, line) in lines {
            if line.is_empty() {
                continue;
            }
            let line_number = index + 1;
            let line_error = |error: serde_json::Error| FileError::Line {
                path: path.to_owned(),
                line: line_number,
                problem: error.to_string(),
            };
            let kind: Kind = serde_json::from_slice(line).map_err(line_error)?;
            if kind.failure.is_some() {
                failures.push(serde_json::from_slice(line).map_err(line_error)?);
                continue;
            }
            let record: Record = serde_json::from_slice(line).map_err(line_error)?;
            Statistics::of(&record).map_err(|source| FileError::Samples {
                path: path.to_owned(),
                line: line_number,
                source,
            })?;
            records.push(record);
            record_lines.push(line_number);
        }
        let line_count = bytes[..complete].iter().filter(|byte| **byte == b'\n').count();
        let torn = (complete < bytes.len())
            .then_some(TornLine { line: line_count + 1, offset: complete as u64 });
        let references: Vec<f64> =
            records.iter().flat_map(|record| &record.reference_us).copied().collect();
        Ok(Self {
            path: path.to_owned(),
            header,
            reference_ms: median(&references).unwrap_or(f64::NAN) / 1000.0,
            records,
            failures,
            lines: record_lines,
            torn,
            digest: atb_files::digest(&bytes[..complete]),
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
        Statistics::of(record).map_err(|source| FileError::Samples {
            path: self.path.clone(),
            line: self
                .records
                .iter()
                .position(|known| known == record)
                .and_then(|index| self.lines.get(index).copied())
                .unwrap_or(1),
            source,
        })
    }
}

fn parse_header(path: &Path, line: &[u8]) -> Result<Header, FileError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let problem = |error: serde_json::Error| FileError::Header {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    if line.is_empty() {
        let problem = "the line is empty or incomplete".to_owned();
        return Err(FileError::Header { path: path.to_owned(), problem });
    }
    let version: Version = serde_json::from_slice(line).map_err(problem)?;
    if version.schema > SCHEMA {
        return Err(FileError::NewerSchema { path: path.to_owned(), found: version.schema });
    }
    serde_json::from_slice(line).map_err(problem)
}

/// What a measurement file held when it was opened to append to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Its records.
    pub records: Vec<Record>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
}

/// Appends records to a measurement file, each one safe on disk before the next begins.
#[derive(Debug)]
pub struct MeasurementWriter {
    path: PathBuf,
    file: File,
}

impl MeasurementWriter {
    /// Begins the file `path` with `header`, or opens an existing one to append to it: what
    /// is already in it is returned, and an incomplete last line is cut off.
    ///
    /// # Errors
    /// [`FileError`]; in particular [`FileError::OtherContext`] if the existing file was
    /// measured on another target, by another protocol or by another agent.
    pub fn open(path: &Path, header: &Header) -> Result<(Self, Contents), FileError> {
        let io_error = |source| FileError::Io { path: path.to_owned(), source };
        // A file whose header was never completed holds no measurement: it is begun anew.
        let begin = match fs::read(path) {
            Ok(bytes) => {
                bytes.is_empty() || (bytes.starts_with(b"{\"schema\"") && !bytes.contains(&b'\n'))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(io_error(error)),
        };
        if begin {
            let file = File::create(path).map_err(io_error)?;
            let mut writer = Self { path: path.to_owned(), file };
            writer.write_line(&serde_json::to_string(header).map_err(|e| io_error(e.into()))?)?;
            return Ok((writer, Contents::default()));
        }
        let content = MeasurementFile::read(path)?;
        check_context(path, &content.header, header)?;
        let mut file = OpenOptions::new().write(true).open(path).map_err(io_error)?;
        if let Some(torn) = &content.torn {
            file.set_len(torn.offset).map_err(io_error)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io_error)?;
        let MeasurementFile { records, failures, .. } = content;
        Ok((Self { path: path.to_owned(), file }, Contents { records, failures }))
    }

    /// Appends one record and waits until it is on disk. A record that could not be
    /// written whole (a full disk, say) leaves the file as it was before.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn append(&mut self, record: &Record) -> Result<(), FileError> {
        let line = Line { record, statistics: Statistics::of(record).ok() };
        let text = serde_json::to_string(&line)
            .map_err(|e| FileError::Io { path: self.path.clone(), source: e.into() })?;
        self.write_line(&text)
    }

    /// Appends what could not be measured, as [`MeasurementWriter::append`] does a record.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn append_failure(&mut self, failure: &Failure) -> Result<(), FileError> {
        let text = serde_json::to_string(failure)
            .map_err(|e| FileError::Io { path: self.path.clone(), source: e.into() })?;
        self.write_line(&text)
    }

    fn write_line(&mut self, text: &str) -> Result<(), FileError> {
        let io_error = |source| FileError::Io { path: self.path.clone(), source };
        let start = self.file.stream_position().map_err(io_error)?;
        let written = self
            .file
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            let _ = self.file.set_len(start);
            let _ = self.file.seek(SeekFrom::Start(start));
            return Err(io_error(source));
        }
        Ok(())
    }
}

fn check_context(path: &Path, there: &Header, here: &Header) -> Result<(), FileError> {
    let differs = |what, there: String, here: String| {
        Err(FileError::OtherContext { path: path.to_owned(), what, there, here })
    };
    if there.target != here.target {
        return differs("target", there.target.clone(), here.target.clone());
    }
    if there.protocol != here.protocol {
        let text = |protocol| serde_json::to_string(protocol).unwrap_or_default();
        return differs("protocol", text(&there.protocol), text(&here.protocol));
    }
    // What changes the numbers; what is only told about the agent may differ.
    let text = |agent: &AgentContext| {
        let overrides: String =
            agent.overrides.iter().map(|(name, value)| format!(", {name}={value}")).collect();
        format!("{} with {} and {}{overrides}", agent.version, agent.runtime, agent.kernel)
    };
    if text(&there.agent) != text(&here.agent) {
        return differs("agent", text(&there.agent), text(&here.agent));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, Subject};

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
            "m.jsonl: line 3: 2-128-512-2-128 has the sample -900 in samples_us at index 0"
        ));
        assert!(
            error(text.replacen("\"role\"", "\"roll\"", 1))
                .starts_with("m.jsonl: line 2 is not a measurement record: missing field `role`")
        );
        assert_eq!(
            error(text.replacen("\"schema\":1", "\"schema\":99", 1)),
            "m.jsonl: line 1 has schema 99, this version reads up to 1; hint: use a newer \
             version of atb"
        );
        assert!(error("hello\n".to_owned()).starts_with("m.jsonl: line 1 is not a measurement"));
        assert!(error(String::new()).contains("line 1"));
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
