//! What can go wrong with vocabularies, tokenizers and text files.

use std::io;
use std::path::PathBuf;

/// Why a text could not be read or tokenized.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TextError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} holds neither tokenizer.json nor vocab.txt", folder.display())]
    #[diagnostic(help("put the model's vocab.txt there"))]
    NoVocabulary { folder: PathBuf },
    #[error("{name}, line {line}: not valid UTF-8")]
    #[diagnostic(help("convert the file to UTF-8"))]
    Utf8 { name: String, line: usize },
    #[error("{name} holds no text")]
    #[diagnostic(help("write one paragraph per line, and a blank line between documents"))]
    Empty { name: String },
    #[error("{name} has no entry {token}: it is not the vocabulary of a BERT")]
    #[diagnostic(help("take the vocab.txt that came with the model"))]
    MissingToken { name: String, token: &'static str },
    /// `line` counts from 1, the ids from 0.
    #[error("{name}, line {line}: `{token}` is already entry {first}; ids would be ambiguous")]
    #[diagnostic(help("take the vocab.txt that came with the model"))]
    DuplicateToken { name: String, line: usize, token: String, first: u32 },
    #[error("{}: `{key}` must be {expected}", path.display())]
    ConfigKey { path: PathBuf, key: &'static str, expected: &'static str },
    #[error("{}: {message}", path.display())]
    #[diagnostic(help(
        "take the file that came with the model, or remove it if there is a vocab.txt"
    ))]
    Json { path: PathBuf, message: String },
    #[error("{}: {token} is entry {id} of only {entries}", path.display())]
    #[diagnostic(help("take the tokenizer.json or vocab.txt that came with the model"))]
    Id { path: PathBuf, token: String, id: u32, entries: usize },
    #[error("{}: its {part} is not BERT's", path.display())]
    #[diagnostic(help("only WordPiece tokenizers of BERT models are supported"))]
    NotBert { path: PathBuf, part: &'static str },
    #[error(
        "a sequence length of {sequence_length} is too short: the special tokens and one token \
         of text need {least}"
    )]
    SequenceTooShort { sequence_length: usize, least: usize },
    #[error("no texts to encode: a batch needs at least one")]
    EmptyBatch,
    #[error("cannot tokenize text {index} of the batch: {message}")]
    Tokenize { index: usize, message: String },
}
