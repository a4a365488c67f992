//! The ids of BERT's special tokens.

use atb_text::{TextError, Tokenizer};

/// Ids of the special tokens that packing and masking put into sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Specials {
    pub(crate) padding: u32,
    pub(crate) start: u32,
    pub(crate) separator: u32,
    pub(crate) mask: u32,
}

impl Specials {
    /// The special tokens of a vocabulary.
    ///
    /// # Errors
    /// [`TextError::MissingToken`] naming the one that is not there.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let vocabulary = tokenizer.vocabulary_file();
        let id =
            |token: &'static str| {
                vocabulary.lines().position(|entry| entry == token).map(|id| id as u32).ok_or_else(
                    || TextError::MissingToken { name: "the vocabulary".to_owned(), token },
                )
            };
        Ok(Self {
            padding: id("[PAD]")?,
            start: id("[CLS]")?,
            separator: id("[SEP]")?,
            mask: id("[MASK]")?,
        })
    }
}
