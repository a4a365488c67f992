//! What can go wrong with vocabularies, tokenizers and text files.

use std::path::PathBuf;

/// Why a text could not be read or tokenized.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum TextError {
    /// a file that cannot be opened or read
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// a folder without a vocabulary
    #[error(
        "{} holds neither tokenizer.json nor vocab.txt: put the vocab.txt of the model there",
        folder.display()
    )]
    NoVocabulary {
        /// The folder.
        folder: PathBuf,
    },
    /// bytes that are not UTF-8
    #[error("{name}, line {line}: not valid UTF-8; convert the file to UTF-8")]
    Utf8 {
        /// The file, or what the text is called.
        name: String,
        /// Line number, from 1.
        line: usize,
    },
    /// a text without a single paragraph
    #[error("{name} holds no text: expected one paragraph a line")]
    Empty {
        /// The file, or what the text is called.
        name: String,
    },
    /// a vocabulary that lacks one of BERT's special tokens
    #[error("{name} has no entry {token}: it is not the vocabulary of a BERT")]
    MissingToken {
        /// The vocabulary's file or name.
        name: String,
        /// The token.
        token: &'static str,
    },
    /// an entry that occurs twice
    #[error("{name}, line {line}: `{token}` is already entry {first}; ids would be ambiguous")]
    DuplicateToken {
        /// The vocabulary's file or name.
        name: String,
        /// Line number of the second occurrence, from 1.
        line: usize,
        /// The token.
        token: String,
        /// The id (line number from 0) that it already has.
        first: u32,
    },
    /// a key of `tokenizer_config.json` that is not what it should be
    #[error("{}: `{key}` must be {expected}", path.display())]
    ConfigKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// a JSON file that cannot be parsed
    #[error("{}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// a `tokenizer.json` of another family
    #[error("{}: its {part} is not BERT's; only WordPiece tokenizers of BERT models are supported", path.display())]
    NotBert {
        /// The file.
        path: PathBuf,
        /// Which part of the pipeline.
        part: &'static str,
    },
    /// a sequence length that leaves no room for text
    #[error(
        "a sequence length of {sequence_length} is too short: the special tokens and one token of text need {least}"
    )]
    SequenceTooShort {
        /// The length asked for.
        sequence_length: usize,
        /// The least that would do.
        least: usize,
    },
    /// no texts to encode
    #[error("no texts to encode: a batch needs at least one")]
    EmptyBatch,
    /// the tokenizer's own error
    #[error("cannot tokenize text {index} of the batch: {message}")]
    Tokenize {
        /// Position of the text in the batch, from 0.
        index: usize,
        /// What the tokenizer says.
        message: String,
    },
}
