//! Tokenizing text files into shards.
//!
//! Text is read in parts of about [`PART`] bytes that end with a document; each part is
//! tokenized in parallel and becomes one shard. So the memory needed does not grow with the
//! files, and an interrupted preparation keeps every shard that it has finished.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use atb_text::{Corpus, Paragraph, Specials, TextError, Tokenizer};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::dataset::{LIST_FILE, List, vocabulary_digest};
use super::shard::{Header, SCHEMA, Shard};
use super::{DataError, Dataset, Layout};

/// Bytes of text after which a part ends with its document; a document that goes on for
/// as much again is cut.
const PART: usize = 16 << 20;

/// How far a preparation is.
#[derive(Clone, Debug)]
pub struct PrepareProgress {
    /// The file being read.
    pub file: PathBuf,
    /// Bytes of text done, of all files.
    pub bytes_done: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// Tokens in the shards so far.
    pub tokens: u64,
    /// Shards so far that an earlier preparation had already made.
    pub reused: usize,
}

/// Tokenizes text files (one paragraph a line, a blank line between documents) and lays the
/// tokens out in sequences of `sequence_length`, `[CLS] .. [SEP]`, in memory-mapped shards under
/// `folder`.
///
/// Calling it again with the same text costs no tokenization: shards are found by the
/// digest of their text and vocabulary. `progress` is called after every shard.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let text = folder.path().join("text.txt");
/// std::fs::write(&text, "One paragraph.\nAnother one.\n\nA second document.\n")?;
///
/// let tokenizer = atb_text::Tokenizer::bert_uncased()?;
/// let shards = folder.path().join("shards");
/// let layout = atb_superplm::Layout::Packed;
/// let dataset = atb_superplm::prepare(&[text], &tokenizer, layout, 8, &shards, |_| {})?;
/// assert_eq!((dataset.sequences(), dataset.tokens()), (2, 14));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DataError::NoInputs`]; [`DataError::Text`] for an empty file, and for invalid UTF-8
/// with file and line; [`DataError::Io`].
pub fn prepare(
    inputs: &[PathBuf],
    tokenizer: &Tokenizer,
    layout: Layout,
    sequence_length: usize,
    folder: &Path,
    mut progress: impl FnMut(&PrepareProgress),
) -> Result<Dataset, DataError> {
    if inputs.is_empty() {
        return Err(DataError::NoInputs);
    }
    let least = 3;
    if sequence_length < least {
        return Err(TextError::SequenceTooShort { sequence_length, least }.into());
    }
    let mut bytes_total = 0;
    for path in inputs {
        bytes_total += fs_err::metadata(path)?.len();
    }
    fs_err::create_dir_all(folder)?;
    let specials = tokenizer.specials();
    let packer = Packer { tokenizer, specials, layout, sequence_length };
    let vocabulary = vocabulary_digest(tokenizer);
    let mut state =
        PrepareProgress { file: PathBuf::new(), bytes_done: 0, bytes_total, tokens: 0, reused: 0 };
    let mut shards = Vec::new();
    for path in inputs {
        state.file.clone_from(path);
        let mut parts = Parts { paragraphs: Corpus::open(path)?.peekable() };
        while let Some(part) = parts.next_part()? {
            let text = text_digest(&part);
            let name = shard_name(&text, &vocabulary, layout, sequence_length);
            let path = folder.join(&name);
            let header = match Shard::open(&path) {
                Ok(Shard { header, .. })
                    if (&header.text, &header.vocabulary) == (&text, &vocabulary) =>
                {
                    state.reused += 1;
                    header
                }
                // Not there, or not whole: it is made again.
                _ => packer.write(&path, &part, text, vocabulary.clone())?,
            };
            state.tokens += header.tokens;
            state.bytes_done += part.iter().map(|p| p.text.len() as u64 + 1).sum::<u64>();
            shards.push(name);
            progress(&state);
        }
    }
    let mut seen = HashSet::new();
    shards.retain(|name| seen.insert(name.clone()));
    let list = List {
        schema: SCHEMA,
        sequence_length,
        layout,
        vocabulary,
        inputs: inputs.to_vec(),
        shards,
    };
    let path = folder.join(LIST_FILE);
    atb_files::write_json(&path, &list)?;
    Dataset::open(folder)
}

/// The name under which a part's shard is found again.
fn shard_name(text: &str, vocabulary: &str, layout: Layout, sequence_length: usize) -> String {
    let short = |digest: &str| digest.chars().take(16).collect::<String>();
    let layout = match layout {
        Layout::Packed => String::new(),
        layout => format!("-{layout}"),
    };
    format!("{}-{}{layout}-{sequence_length}.safetensors", short(text), short(vocabulary))
}

/// A text's paragraphs, a part at a time.
struct Parts<I: Iterator> {
    paragraphs: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = Result<Paragraph, TextError>>> Parts<I> {
    fn next_part(&mut self) -> Result<Option<Vec<Paragraph>>, TextError> {
        let (mut part, mut bytes): (Vec<Paragraph>, usize) = (Vec::new(), 0);
        while let Some(next) = self.paragraphs.peek() {
            if let (Ok(next), Some(last)) = (next, part.last()) {
                let full = if next.document == last.document { 2 * PART } else { PART };
                if bytes >= full {
                    break;
                }
            }
            if let Some(paragraph) = self.paragraphs.next().transpose()? {
                bytes += paragraph.text.len();
                part.push(paragraph);
            }
        }
        Ok((!part.is_empty()).then_some(part))
    }
}

/// Whether each paragraph begins a document, and the paragraph.
fn with_beginnings(part: &[Paragraph]) -> impl Iterator<Item = (bool, &Paragraph)> {
    let mut last = None;
    part.iter().map(move |paragraph| {
        (last.replace(paragraph.document) != Some(paragraph.document), paragraph)
    })
}

fn text_digest(part: &[Paragraph]) -> String {
    let mut hasher = Sha256::new();
    for (begins, paragraph) in with_beginnings(part) {
        if begins {
            hasher.update("\n");
        }
        hasher.update(&paragraph.text);
        hasher.update("\n");
    }
    atb_files::hex(&hasher.finalize())
}

struct Packer<'a> {
    tokenizer: &'a Tokenizer,
    specials: Specials,
    layout: Layout,
    sequence_length: usize,
}

impl Packer<'_> {
    fn write(
        &self,
        path: &Path,
        part: &[Paragraph],
        text: String,
        vocabulary: String,
    ) -> Result<Header, DataError> {
        let ids = match self.layout {
            Layout::Packed => {
                let tokens: Vec<Vec<u32>> = part
                    .par_iter()
                    .map(|paragraph| self.ids(&paragraph.text))
                    .collect::<Result<_, _>>()?;
                let begins = with_beginnings(part).map(|(begins, _)| begins);
                self.pack(begins.zip(&tokens))
            }
            Layout::Paragraphs | Layout::Sentences => {
                let rows: Vec<Vec<u32>> = part
                    .par_iter()
                    .map(|paragraph| self.rows(&paragraph.text))
                    .collect::<Result<_, _>>()?;
                rows.concat()
            }
        };
        let padding = self.specials.padding as u32;
        let header = Header {
            layout: self.layout,
            text,
            vocabulary,
            sequence_length: self.sequence_length,
            sequences: ids.len() / self.sequence_length,
            tokens: ids.iter().filter(|id| **id != padding).count() as u64,
        };
        Shard::write(path, &header, &ids)?;
        Ok(header)
    }

    /// The ids of a text, without special tokens around it.
    fn ids(&self, text: &str) -> Result<Vec<u32>, TextError> {
        // A token stands for at least one byte, so nothing is cut.
        let encoded = self.tokenizer.encode_batch([text], text.len() + 2)?;
        let real = encoded.real_tokens();
        Ok(encoded.input_ids[1..real - 1].iter().map(|id| *id as u32).collect())
    }

    /// The texts of a paragraph, each a sequence, padded; those without a token are left out.
    fn rows(&self, paragraph: &str) -> Result<Vec<u32>, TextError> {
        let Specials { padding, start, separator, .. } = self.specials;
        let [padding, start, separator] = [padding, start, separator].map(|id| id as u32);
        let mut rows = Vec::new();
        for text in self.layout.texts(paragraph) {
            let ids = self.ids(text)?;
            if ids.is_empty() {
                continue;
            }
            rows.push(start);
            rows.extend(ids.iter().take(self.sequence_length - 2));
            rows.push(separator);
            rows.resize(rows.len().next_multiple_of(self.sequence_length), padding);
        }
        Ok(rows)
    }

    /// Sequences of full length one after the other; only the last may have padding.
    fn pack<'a>(&self, paragraphs: impl Iterator<Item = (bool, &'a Vec<u32>)>) -> Vec<u32> {
        let Specials { padding, start, separator, .. } = self.specials;
        let [padding, start, separator] = [padding, start, separator].map(|id| id as u32);
        let mut packed = Vec::new();
        // Ids in the sequence that is being filled, its `[CLS]` included; 0: not begun.
        let mut filled = 0;
        let mut push = |id: u32| {
            if filled == 0 {
                packed.push(start);
                filled = 1;
            }
            packed.push(id);
            filled += 1;
            if filled == self.sequence_length - 1 {
                packed.push(separator);
                filled = 0;
            }
            filled
        };
        let mut last = 0;
        for (begins, ids) in paragraphs {
            if begins && last > 0 {
                last = push(separator);
            }
            for id in ids {
                last = push(*id);
            }
        }
        if last > 0 {
            packed.push(separator);
            packed.resize(packed.len().next_multiple_of(self.sequence_length), padding);
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(texts: &[(usize, &str)]) -> Vec<Paragraph> {
        let paragraph = |(document, text): &(usize, &str)| Paragraph {
            document: *document,
            line: 1,
            text: (*text).to_owned(),
        };
        texts.iter().map(paragraph).collect()
    }

    #[test]
    fn documents_are_packed_with_separators_between_them() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let specials = tokenizer.specials();
        assert_eq!(specials, Specials { padding: 0, start: 101, separator: 102, mask: 103 });
        let layout = Layout::Packed;
        let packer = Packer { tokenizer: &tokenizer, specials, layout, sequence_length: 6 };
        let (a, b, c) = (vec![1, 2], vec![3, 4, 5], vec![6]);
        let packed = packer.pack([(true, &a), (false, &b), (true, &c)].into_iter());
        assert_eq!(packed, [101, 1, 2, 3, 4, 102, 101, 5, 102, 6, 102, 0]);
        // A document that ends with its sequence needs no further separator.
        let packed = packer.pack([(true, &vec![1, 2, 3, 4]), (true, &c)].into_iter());
        assert_eq!(packed, [101, 1, 2, 3, 4, 102, 101, 6, 102, 0, 0, 0]);
        assert_eq!(packer.ids("Hello, world!").expect("ids"), [7592, 1010, 2088, 999]);
    }

    #[test]
    fn each_sentence_is_a_sequence_of_its_own() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let specials = tokenizer.specials();
        let layout = Layout::Sentences;
        let packer = Packer { tokenizer: &tokenizer, specials, layout, sequence_length: 6 };
        let rows = packer.rows("Hello, world! Hello. Hello, hello, world.").expect("rows");
        assert_eq!(rows[..6], [101, 7592, 1010, 2088, 999, 102]);
        assert_eq!(rows[6..12], [101, 7592, 1012, 102, 0, 0]);
        assert_eq!(rows[12..], [101, 7592, 1010, 7592, 1010, 102], "cut");
        let layout = Layout::Paragraphs;
        let packer = Packer { layout, ..packer };
        assert_eq!(packer.rows("Hello. Hello").expect("rows"), [101, 7592, 1012, 7592, 102, 0]);
    }

    #[test]
    fn parts_end_with_a_document_unless_it_is_too_long() {
        let long = "x".repeat(PART / 2 + 1);
        let all = part(&[(0, &long), (0, &long), (0, "a"), (1, "b"), (1, &long), (1, &long)]);
        let all = [all, part(&[(1, &long), (1, &long), (1, "c"), (1, "d")])].concat();
        let mut parts = Parts { paragraphs: all.into_iter().map(Ok).peekable() };
        let mut lengths = Vec::new();
        while let Some(part) = parts.next_part().expect("no error") {
            lengths.push(part.len());
        }
        assert_eq!(lengths, [3, 5, 2]);
    }

    #[test]
    fn the_digest_tells_document_boundaries_apart() {
        let digest = |texts: &[(usize, &str)]| text_digest(&part(texts));
        assert_eq!(digest(&[(0, "a"), (1, "b")]), digest(&[(4, "a"), (7, "b")]));
        assert_ne!(digest(&[(0, "a"), (1, "b")]), digest(&[(0, "a"), (0, "b")]));
    }
}
