//! Reading text files: one paragraph a line, a blank line between documents.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::TextError;

/// One paragraph of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paragraph {
    /// Number of the document it belongs to, from 0.
    pub document: usize,
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its text, never blank, without the line's end.
    pub text: String,
}

/// The paragraphs of a text, read one at a time: a file of any size needs the memory of
/// its longest line.
///
/// Yields [`TextError::Utf8`] for a line that is not UTF-8 and [`TextError::Empty`] at the
/// end of a text without a paragraph; nothing follows an error.
#[derive(Debug)]
pub struct Corpus<R> {
    name: String,
    reader: R,
    line: usize,
    document: usize,
    paragraphs: usize,
    /// A blank line was seen since the last paragraph.
    gap: bool,
    done: bool,
}

impl Corpus<BufReader<File>> {
    /// The paragraphs of a text file.
    ///
    /// # Errors
    /// [`TextError::Read`] if the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let file =
            File::open(path).map_err(|source| TextError::Read { path: path.to_owned(), source })?;
        Ok(Self::new(path.display().to_string(), BufReader::new(file)))
    }
}

impl<R: BufRead> Corpus<R> {
    /// The paragraphs that `reader` yields; `name` stands for the file in messages.
    pub fn new(name: impl Into<String>, reader: R) -> Self {
        Self {
            name: name.into(),
            reader,
            line: 0,
            document: 0,
            paragraphs: 0,
            gap: false,
            done: false,
        }
    }

    fn advance(&mut self) -> Result<Option<Paragraph>, TextError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = self.reader.read_until(b'\n', &mut bytes);
            let length =
                read.map_err(|source| TextError::Read { path: self.name.clone().into(), source })?;
            if length == 0 {
                return if self.paragraphs == 0 {
                    Err(TextError::Empty { name: self.name.clone() })
                } else {
                    Ok(None)
                };
            }
            self.line += 1;
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| TextError::Utf8 { name: self.name.clone(), line: self.line })?
                .trim();
            if text.is_empty() {
                self.gap = true;
                continue;
            }
            if self.gap && self.paragraphs > 0 {
                self.document += 1;
            }
            self.gap = false;
            self.paragraphs += 1;
            return Ok(Some(Paragraph {
                document: self.document,
                line: self.line,
                text: text.to_owned(),
            }));
        }
    }
}

impl<R: BufRead> Iterator for Corpus<R> {
    type Item = Result<Paragraph, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.advance().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Paragraph>, TextError> {
        Corpus::new("text", bytes).collect()
    }

    #[test]
    fn blank_lines_separate_documents() {
        let paragraphs = read(b"\n\nOne.\r\n Two. \n\n \nThree.").expect("reads");
        let seen: Vec<_> =
            paragraphs.iter().map(|p| (p.document, p.line, p.text.as_str())).collect();
        assert_eq!(seen, [(0, 3, "One."), (0, 4, "Two."), (1, 7, "Three.")]);
    }

    #[test]
    fn invalid_utf8_names_the_line() {
        let error = read(b"fine\n\nbad \xff here\nfine\n").expect_err("refused");
        assert_eq!(error.to_string(), "text, line 3: not valid UTF-8");
    }

    #[test]
    fn a_text_without_a_paragraph_is_an_error() {
        for blank in [&b""[..], b"\n \n\t\n"] {
            let error = read(blank).expect_err("refused");
            assert_eq!(error.to_string(), "text holds no text");
        }
    }

    #[test]
    fn the_embedded_held_out_text_has_documents_of_several_paragraphs() {
        let paragraphs = read(crate::HELD_OUT.as_bytes()).expect("reads");
        let documents = paragraphs.last().map_or(0, |last| last.document + 1);
        assert!(documents >= 10, "{documents} documents");
        assert!(paragraphs.len() > documents, "{} paragraphs", paragraphs.len());
        assert!((8_000..12_000).contains(&crate::HELD_OUT.len()));
    }
}
