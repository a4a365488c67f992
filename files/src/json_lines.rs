//! JSON Lines: a header, then one value a line, append-only.
//!
//! [`JsonLines`] is what a file holds; [`JsonLines::appender`] goes on where it ends. A write
//! that was interrupted leaves an incomplete last line: it is never among the lines, and is
//! cut off before the next one is appended.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{FileError, JsonProblem, check_schema, digest, without_byte_order_mark};

/// The longest line that is read, in bytes.
pub const LINE_LIMIT: usize = 64 << 20;

/// How much of a header's beginning tells that an incomplete one is its beginning.
const TELLING: usize = 8;

/// An incomplete last line, as an interrupted write leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornLine {
    /// The line, from 1.
    pub line: usize,
    /// Offset of its first byte.
    pub offset: u64,
}

/// The content of a JSON Lines file.
#[derive(Clone, Debug)]
pub struct JsonLines {
    path: PathBuf,
    /// All bytes, the incomplete last line included.
    content: Vec<u8>,
    /// Bytes of the complete lines.
    complete: usize,
    lines: usize,
}

impl JsonLines {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be read, or has a line longer than [`LINE_LIMIT`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::read_limited(path, LINE_LIMIT)
    }

    /// As [`JsonLines::read`]; nothing if there is no such file.
    ///
    /// # Errors
    /// As [`JsonLines::read`].
    pub fn read_or_empty(path: &Path) -> Result<Self, FileError> {
        match Self::read(path) {
            Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path: path.to_owned(), content: Vec::new(), complete: 0, lines: 0 })
            }
            read => read,
        }
    }

    fn read_limited(path: &Path, limit: usize) -> Result<Self, FileError> {
        let mut reader = BufReader::new(File::open(path)?);
        let (mut content, mut complete, mut lines) = (Vec::new(), 0, 0);
        loop {
            let length = reader.by_ref().take(limit as u64 + 1).read_until(b'\n', &mut content)?;
            if length == 0 {
                break;
            }
            if content.ends_with(b"\n") {
                (complete, lines) = (content.len(), lines + 1);
            } else if length > limit {
                return Err(FileError::LongLine { path: path.to_owned(), line: lines + 1 });
            }
        }
        let torn = complete < content.len();
        tracing::info!(path = %path.display(), lines, torn, "read a file");
        Ok(Self { path: path.to_owned(), content, complete, lines })
    }

    /// Where it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is no complete line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.complete == 0
    }

    /// The incomplete last line, if there is one.
    #[must_use]
    pub fn torn(&self) -> Option<TornLine> {
        let torn = TornLine { line: self.lines + 1, offset: self.complete as u64 };
        (self.complete < self.content.len()).then_some(torn)
    }

    /// SHA-256 of the complete lines, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.content[..self.complete])
    }

    /// The first line, whose `schema` must not be newer than `known`; `expected` says what it
    /// should be ("a measurement header").
    ///
    /// # Errors
    /// [`FileError::Header`] or [`FileError::NewerSchema`].
    pub fn header<T: DeserializeOwned>(
        &self,
        known: u32,
        expected: &'static str,
    ) -> Result<T, FileError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u64,
        }
        let problem =
            |problem: String| FileError::Header { path: self.path.clone(), expected, problem };
        let json_problem =
            |error: serde_json::Error| problem(JsonProblem::from(error).message().to_owned());
        let line = match self.raw_lines().next() {
            Some((1, line)) => line,
            _ => return Err(problem("the line is empty or incomplete".to_owned())),
        };
        let version: Version = serde_json::from_slice(line).map_err(json_problem)?;
        check_schema(format!("{}: line 1", self.path.display()), version.schema, known)?;
        serde_json::from_slice(line).map_err(json_problem)
    }

    /// The complete lines after the header that are not empty, each with its number from 1.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let lines = self.raw_lines().filter(|(number, _)| *number > 1);
        lines.map(|(number, bytes)| Line { path: &self.path, number, bytes })
    }

    fn raw_lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let lines = self.content[..self.complete].split(|byte| *byte == b'\n');
        let lines = lines.enumerate().map(|(index, line)| match index {
            0 => (1, without_byte_order_mark(line)),
            _ => (index + 1, line),
        });
        lines.filter(|(_, line)| !line.trim_ascii().is_empty())
    }

    /// Checks that a file without a complete line holds the beginning of a header that is written
    /// as `first` begins.
    ///
    /// # Errors
    /// [`FileError::Header`] if it holds something else.
    pub fn check_beginning(&self, first: &[u8]) -> Result<(), FileError> {
        let telling = self.content.len().min(TELLING).min(first.len());
        if self.is_empty() && self.content[..telling] != first[..telling] {
            return Err(FileError::Header {
                path: self.path.clone(),
                expected: "the header of such a file",
                problem: "the line is incomplete and something else".to_owned(),
            });
        }
        Ok(())
    }

    /// Opens the file to append to it. An incomplete last line is cut off; a file without a
    /// complete line is begun with `header`.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written, or if what it holds is no beginning of a header.
    pub fn appender(&self, header: &impl Serialize) -> Result<Appender, FileError> {
        let first = json_line(header).map_err(io::Error::from)?;
        self.check_beginning(&first)?;
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(false).write(true).open(&self.path)?;
        if self.torn().is_some() {
            file.set_len(self.complete as u64)?;
        }
        file.seek(SeekFrom::Start(self.complete as u64))?;
        tracing::info!(path = %self.path.display(), lines = self.lines, "appending to a file");
        let mut appender = Appender { file };
        if self.is_empty() {
            appender.append_bytes(&first)?;
        }
        Ok(appender)
    }
}

/// A line of a [`JsonLines`] file.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    path: &'a Path,
    /// Its number, from 1.
    pub number: usize,
    bytes: &'a [u8],
}

impl Line<'_> {
    /// The line's value; `expected` says what it should be ("a measurement record").
    ///
    /// # Errors
    /// [`FileError::Line`].
    pub fn parse<T: DeserializeOwned>(&self, expected: &'static str) -> Result<T, FileError> {
        serde_json::from_slice(self.bytes).map_err(|error| FileError::Line {
            path: self.path.to_owned(),
            line: self.number,
            expected,
            problem: JsonProblem::from(error).message().to_owned(),
        })
    }
}

/// Appends to a JSON Lines file, each line safe on disk before the next begins.
#[derive(Debug)]
pub struct Appender {
    file: File,
}

impl Appender {
    /// Appends one line and waits until it is on disk. A line that could not be written whole
    /// (a full disk, say) leaves the file as it was before.
    ///
    /// # Errors
    /// If it could not be written.
    pub fn append(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.append_bytes(&json_line(value)?)
    }

    fn append_bytes(&mut self, line: &[u8]) -> io::Result<()> {
        let start = self.file.stream_position()?;
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        if written.is_err() {
            let _ = self.file.set_len(start);
            let _ = self.file.seek(SeekFrom::Start(start));
        }
        written
    }
}

/// A value as a line, its end included.
///
/// # Errors
/// If it has no JSON.
pub fn json_line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Header {
        schema: u32,
        name: String,
    }

    fn header() -> Header {
        Header { schema: 1, name: "numbers".to_owned() }
    }

    fn numbers(file: &JsonLines) -> Vec<u32> {
        file.lines().map(|line| line.parse("a number").expect("a number")).collect()
    }

    #[test]
    fn every_interrupted_write_is_continued_without_loss() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers.jsonl");
        let mut appender = JsonLines::read_or_empty(&path)
            .and_then(|file| file.appender(&header()))
            .expect("begins");
        for number in [10, 20, 30] {
            appender.append(&number).expect("appends");
        }
        let whole = fs::read(&path).expect("reads");
        let head = json_line(&header()).expect("serializes").len();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).expect("writes");
            let file = JsonLines::read(&path).expect("reads");
            assert_eq!(file.torn().is_some(), cut > 0 && whole[cut - 1] != b'\n');
            let left = numbers(&file);
            assert_eq!(left, [10, 20, 30][..cut.saturating_sub(head) / 3]);
            let mut appender = file.appender(&header()).expect("opens");
            for number in [10, 20, 30].iter().skip(left.len()) {
                appender.append(number).expect("appends");
            }
            assert_eq!(fs::read(&path).expect("reads"), whole);
        }
        let file = JsonLines::read(&path).expect("reads");
        assert_eq!(file.header::<Header>(1, "a header").expect("reads"), header());
        assert_eq!(file.digest(), digest(&whole));
    }

    #[test]
    fn errors_name_the_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers.jsonl");
        let read = |text: &str| {
            fs::write(&path, text).expect("writes");
            JsonLines::read(&path).expect("reads")
        };
        let message = |error: FileError| {
            error.to_string().replace(&path.display().to_string(), "numbers.jsonl")
        };
        let start = "{\"schema\":1,\"name\":\"numbers\"}\n";
        let file = read(&format!("\u{feff}{start}\n1\nx\n"));
        assert_eq!(file.header::<Header>(1, "a header").expect("reads"), header());
        let error = file.lines().find_map(|line| line.parse::<u32>("a number").err());
        assert_eq!(
            message(error.expect("no number")),
            "numbers.jsonl: line 4 is not a number: expected value"
        );
        let newer = read(&start.replace('1', "9"));
        assert_eq!(
            message(newer.header::<Header>(1, "a header").expect_err("newer")),
            "numbers.jsonl: line 1 has schema 9, this version of atb reads up to 1"
        );
        for text in ["", "hello\n", "\n", "{\"schema\""] {
            let error = read(text).header::<Header>(1, "a header").expect_err("no header");
            assert!(message(error).starts_with("numbers.jsonl: line 1 is not a header: "));
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        for text in ["my notes", "{\"notes\": 1}"] {
            fs::write(&path, text).expect("writes");
            let file = JsonLines::read(&path).expect("reads");
            assert!(matches!(file.appender(&header()), Err(FileError::Header { .. })));
            assert_eq!(fs::read_to_string(&path).expect("reads"), text);
        }
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("long.jsonl");
        fs::write(&path, format!("1\n{}\n", "2".repeat(100))).expect("writes");
        assert_eq!(JsonLines::read_limited(&path, 100).expect("reads").lines, 2);
        let error = JsonLines::read_limited(&path, 99).expect_err("too long").to_string();
        assert!(error.contains("line 2 is longer than"), "{error}");
    }
}
