//! Vocabulary, WordPiece tokenization and text files: the same code in an app, in
//! training and in the export, so that all of them see the same token ids.
//!
//! A [`Tokenizer`] turns texts into [`Encoded`] ids of one fixed sequence length, the
//! shape that exported models take. A [`Corpus`] reads text files paragraph by paragraph.
//! [`HELD_OUT`], [`PARITY_SENTENCES`] and [`BERT_UNCASED_VOCABULARY`] are embedded, so
//! that scoring and comparing need no download.
//!
//! ```
//! use atb_text::Tokenizer;
//!
//! let tokenizer = Tokenizer::bert_uncased()?;
//! let encoded = tokenizer.encode_batch(["Hello, world!"], 8)?;
//! assert_eq!(encoded.input_ids, [101, 7592, 1010, 2088, 999, 102, 0, 0]);
//! assert_eq!(encoded.attention_mask, [1, 1, 1, 1, 1, 1, 0, 0]);
//! # Ok::<(), atb_text::TextError>(())
//! ```

mod corpus;
mod encoded;
mod error;
mod tokenizer;

pub use corpus::{Corpus, Paragraph};
pub use encoded::Encoded;
pub use error::TextError;
pub use tokenizer::{Specials, TextInput, Token, Tokenizer};

/// English text that no model here is trained on, in the form that [`Corpus`] reads.
pub const HELD_OUT: &str = include_str!("../../assets/text/held-out.txt");

/// Sentences, one a line, on which the outputs of two engines are compared: from one word
/// to more than a hundred tokens, with accents, digits, punctuation and Chinese characters.
pub const PARITY_SENTENCES: &str = include_str!("../../assets/text/parity.txt");

/// The WordPiece vocabulary of BERT-base (uncased): 30,522 entries, one a line.
pub const BERT_UNCASED_VOCABULARY: &str = include_str!("../../assets/vocab/bert-base-uncased.txt");
