//! BERT's WordPiece tokenizer, read from a model folder.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PostProcessor, PostProcessorWrapper,
};

use crate::{BERT_UNCASED_VOCABULARY, Encoded, TextError};

const VOCABULARY_FILE: &str = "vocab.txt";
const TOKENIZER_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";

const BYTE_ORDER_MARK: char = '\u{feff}';

const PADDING: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";
const START: &str = "[CLS]";
const SEPARATOR: &str = "[SEP]";
const MASK: &str = "[MASK]";

/// What pieces of a word begin with that are not its first.
const CONTINUATION: &str = "##";

/// What one row of a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextInput<'a> {
    /// One text: `[CLS] text [SEP]`.
    Single(&'a str),
    /// Two texts: `[CLS] first [SEP] second [SEP]`, token types 0 and 1.
    Pair(&'a str, &'a str),
}

impl<'a> From<&'a str> for TextInput<'a> {
    fn from(text: &'a str) -> Self {
        Self::Single(text)
    }
}

impl<'a> From<&'a String> for TextInput<'a> {
    fn from(text: &'a String) -> Self {
        Self::Single(text)
    }
}

impl<'a> From<(&'a str, &'a str)> for TextInput<'a> {
    fn from((first, second): (&'a str, &'a str)) -> Self {
        Self::Pair(first, second)
    }
}

/// A token of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id in the vocabulary.
    pub id: i64,
    /// Where the part of the text begins that it stands for, in bytes.
    pub start: usize,
    /// Where that part ends.
    pub end: usize,
}

/// Ids of BERT's special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specials {
    /// What fills a sequence up.
    pub padding: i64,
    /// What every sequence begins with.
    pub start: i64,
    /// What ends each text of a sequence.
    pub separator: i64,
    /// What stands for a token that is to be predicted.
    pub mask: i64,
}

impl Specials {
    /// All five of BERT's must be in the vocabulary; nothing here uses the id of the unknown
    /// token.
    fn of(inner: &tokenizers::Tokenizer, name: &str) -> Result<Self, TextError> {
        let id = |token: &'static str| {
            let id = inner.token_to_id(token).map(i64::from);
            id.ok_or_else(|| TextError::MissingToken { name: name.to_owned(), token })
        };
        id(UNKNOWN)?;
        let (mask, padding) = (id(MASK)?, id(PADDING)?);
        Ok(Self { padding, start: id(START)?, separator: id(SEPARATOR)?, mask })
    }
}

/// How text is normalised before it is split, the part of `tokenizer_config.json` that
/// changes token ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Casing {
    lower: bool,
    /// `None`: accents are stripped exactly if text is lower-cased.
    strip_accents: Option<bool>,
    split_chinese: bool,
}

impl Default for Casing {
    /// As `bert-base-uncased`.
    fn default() -> Self {
        Self { lower: true, strip_accents: None, split_chinese: true }
    }
}

/// A BERT WordPiece tokenizer with its vocabulary.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    processor: PostProcessorWrapper,
    casing: Casing,
    specials: Specials,
}

impl Tokenizer {
    /// The tokenizer of `bert-base-uncased`, whose vocabulary is embedded.
    ///
    /// # Errors
    /// None in practice: the embedded vocabulary is sound, which a test checks.
    pub fn bert_uncased() -> Result<Self, TextError> {
        Self::from_vocabulary("bert-base-uncased.txt", BERT_UNCASED_VOCABULARY, Casing::default())
    }

    /// The tokenizer of a model folder: `tokenizer.json` if there is one, else `vocab.txt`
    /// with `tokenizer_config.json` (without that file: uncased, as `bert-base-uncased`).
    ///
    /// # Errors
    /// [`TextError`] naming the file, and the line, key or token that is wrong.
    pub fn from_folder(folder: &Path) -> Result<Self, TextError> {
        let whole = folder.join(TOKENIZER_FILE);
        if whole.is_file() {
            return Self::from_tokenizer_json(&whole);
        }
        let vocabulary = folder.join(VOCABULARY_FILE);
        if !vocabulary.is_file() {
            return Err(TextError::NoVocabulary { folder: folder.to_owned() });
        }
        let config = folder.join(CONFIG_FILE);
        let casing = match config.is_file() {
            true => Casing::of_config(&config, &read(&config)?)?,
            false => Casing::default(),
        };
        Self::from_vocabulary(&vocabulary.display().to_string(), &read(&vocabulary)?, casing)
    }

    /// The tokenizer of the contents of a `vocab.txt` and a `tokenizer_config.json`; `name`
    /// stands for where they lie in messages.
    ///
    /// # Errors
    /// As [`Tokenizer::from_folder`].
    pub fn from_contents(name: &str, vocabulary: &[u8], config: &[u8]) -> Result<Self, TextError> {
        let place = |file: &str| Path::new(name).join(file);
        let text = |file: &str, bytes: &[u8]| utf8(&place(file), bytes.to_vec());
        let casing = Casing::of_config(&place(CONFIG_FILE), &text(CONFIG_FILE, config)?)?;
        let vocabulary = text(VOCABULARY_FILE, vocabulary)?;
        let name = place(VOCABULARY_FILE).display().to_string();
        Self::from_vocabulary(&name, &vocabulary, casing)
    }

    /// A tokenizer that treats text as this one does, with another vocabulary, the content of a
    /// `vocab.txt`.
    ///
    /// # Errors
    /// [`TextError`] naming the token that is missing or there twice.
    pub fn with_vocabulary(&self, text: &str) -> Result<Self, TextError> {
        Self::from_vocabulary(VOCABULARY_FILE, text, self.casing)
    }

    fn from_vocabulary(name: &str, text: &str, casing: Casing) -> Result<Self, TextError> {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        for (line, token) in text.lines().map(str::trim_end).enumerate() {
            if let Some(first) = seen.insert(token, line as u32) {
                return Err(TextError::DuplicateToken {
                    name: name.to_owned(),
                    line: line + 1,
                    token: token.to_owned(),
                    first,
                });
            }
        }
        let invalid = |error: tokenizers::Error| TextError::Json {
            path: name.into(),
            message: error.to_string(),
        };
        let model = WordPiece::builder()
            .vocab(WordPiece::read_bytes(text.as_bytes()).map_err(invalid)?)
            .unk_token(UNKNOWN.to_owned())
            .build()
            .map_err(invalid)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        let ids = Specials::of(&inner, name)?;
        inner
            .with_normalizer(Some(BertNormalizer::new(
                true,
                casing.split_chinese,
                casing.strip_accents,
                casing.lower,
            )))
            .map_err(invalid)?
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_post_processor(Some(BertProcessing::new(
                (SEPARATOR.to_owned(), ids.separator as u32),
                (START.to_owned(), ids.start as u32),
            )));
        let special = [PADDING, UNKNOWN, START, SEPARATOR, MASK];
        inner
            .add_special_tokens(special.map(|token| AddedToken::from(token, true)))
            .map_err(invalid)?;
        Self::new(inner, casing, name)
    }

    fn from_tokenizer_json(path: &Path) -> Result<Self, TextError> {
        let json = read(path)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json.as_bytes()).map_err(|error| {
            TextError::Json { path: path.to_owned(), message: error.to_string() }
        })?;
        let not_bert = |part| TextError::NotBert { path: path.to_owned(), part };
        if !matches!(inner.get_model(), ModelWrapper::WordPiece(_)) {
            return Err(not_bert("model"));
        }
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = inner.get_normalizer() else {
            return Err(not_bert("normalizer"));
        };
        let casing = Casing {
            lower: normalizer.lowercase,
            strip_accents: normalizer.strip_accents,
            split_chinese: normalizer.handle_chinese_chars,
        };
        // Whoever looks a token up in a table of so many rows relies on it.
        let vocabulary = inner.get_vocab(true);
        let entries = vocabulary.len();
        if let Some((token, id)) = vocabulary.into_iter().find(|(_, id)| *id as usize >= entries) {
            return Err(TextError::Id { path: path.to_owned(), token, id, entries });
        }
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| TextError::Json {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Self::new(inner, casing, &path.display().to_string())
    }

    fn new(inner: tokenizers::Tokenizer, casing: Casing, name: &str) -> Result<Self, TextError> {
        let specials = Specials::of(&inner, name)?;
        let processor = inner
            .get_post_processor()
            .cloned()
            .ok_or_else(|| TextError::NotBert { path: name.into(), part: "post-processor" })?;
        Ok(Self { inner, processor, casing, specials })
    }

    /// Number of entries of the vocabulary; ids are smaller than this.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Tokenizes one row a text, each cut and padded to `sequence_length` tokens.
    ///
    /// Of a pair that is too long the longer text is cut first, as in Hugging Face's
    /// tokenizers.
    ///
    /// # Errors
    /// [`TextError::EmptyBatch`] without texts, [`TextError::SequenceTooShort`] if the
    /// length leaves no room for text.
    pub fn encode_batch<'a, T: Into<TextInput<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        sequence_length: usize,
    ) -> Result<Encoded, TextError> {
        let mut encoded = Encoded {
            batch: 0,
            sequence: sequence_length,
            input_ids: Vec::new(),
            attention_mask: Vec::new(),
            token_type_ids: Vec::new(),
        };
        for text in texts {
            self.push_row(&mut encoded, text.into())?;
        }
        if encoded.batch == 0 { Err(TextError::EmptyBatch) } else { Ok(encoded) }
    }

    fn push_row(&self, encoded: &mut Encoded, text: TextInput<'_>) -> Result<(), TextError> {
        let failed = |error: tokenizers::Error| TextError::Tokenize {
            index: encoded.batch,
            message: error.to_string(),
        };
        let (first, second) = match text {
            TextInput::Single(text) => (text, None),
            TextInput::Pair(first, second) => (first, Some(second)),
        };
        let special = self.processor.added_tokens(second.is_some());
        if encoded.sequence <= special {
            return Err(TextError::SequenceTooShort {
                sequence_length: encoded.sequence,
                least: special + 1,
            });
        }
        let first = self.inner.encode_fast(first, false).map_err(failed)?;
        let second =
            second.map(|text| self.inner.encode_fast(text, false)).transpose().map_err(failed)?;
        let room =
            TruncationParams { max_length: encoded.sequence - special, ..Default::default() };
        let (first, second) = truncate_encodings(first, second, &room).map_err(failed)?;
        let row = self.processor.process(first, second, true).map_err(failed)?;

        let padding = encoded.sequence - row.len();
        let extend = |values: &mut Vec<i64>, row: &[u32], fill: i64| {
            values.extend(row.iter().map(|value| i64::from(*value)));
            values.extend(std::iter::repeat_n(fill, padding));
        };
        extend(&mut encoded.input_ids, row.get_ids(), self.specials.padding);
        extend(&mut encoded.attention_mask, row.get_attention_mask(), 0);
        extend(&mut encoded.token_type_ids, row.get_type_ids(), 0);
        encoded.batch += 1;
        Ok(())
    }

    /// The tokens of a text, without special ones, and where each stands in it.
    ///
    /// # Errors
    /// [`TextError::Tokenize`].
    pub fn tokens(&self, text: &str) -> Result<Vec<Token>, TextError> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|error| TextError::Tokenize { index: 0, message: error.to_string() })?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(tokens
            .map(|(id, (start, end))| Token { id: (*id).into(), start: *start, end: *end })
            .collect())
    }

    /// Whether the token of this id goes on with the word of the one before it.
    #[must_use]
    pub fn continues_word(&self, id: i64) -> bool {
        let token = u32::try_from(id).ok().and_then(|id| self.inner.id_to_token(id));
        token.is_some_and(|token| token.starts_with(CONTINUATION))
    }

    /// Ids of the special tokens.
    #[must_use]
    pub fn specials(&self) -> Specials {
        self.specials
    }

    /// The vocabulary as the content of a `vocab.txt`: one entry a line, ordered by id.
    #[must_use]
    pub fn vocabulary_file(&self) -> String {
        let mut entries: Vec<(String, u32)> = self.inner.get_vocab(true).into_iter().collect();
        entries.sort_unstable_by_key(|(_, id)| *id);
        entries.into_iter().map(|(token, _)| token + "\n").collect()
    }

    /// The content of a `tokenizer_config.json` that makes Hugging Face's tokenizers, and
    /// [`Tokenizer::from_folder`], treat text as this tokenizer does; `max_length` is the
    /// longest sequence that the model takes.
    #[must_use]
    pub fn config_file(&self, max_length: usize) -> String {
        let config = json!({
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.casing.lower,
            "strip_accents": self.casing.strip_accents,
            "tokenize_chinese_chars": self.casing.split_chinese,
            "model_max_length": max_length,
            "pad_token": PADDING,
            "unk_token": UNKNOWN,
            "cls_token": START,
            "sep_token": SEPARATOR,
            "mask_token": MASK,
        });
        format!("{config:#}\n")
    }
}

fn read(path: &Path) -> Result<String, TextError> {
    let bytes =
        std::fs::read(path).map_err(|source| TextError::Read { path: path.to_owned(), source })?;
    utf8(path, bytes)
}

/// The content of the file `path` as text.
fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, TextError> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        TextError::Utf8 { name: path.display().to_string(), line }
    })?;
    // Some editors put one before the first line.
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

impl Casing {
    /// What the `tokenizer_config.json` at `path` says.
    fn of_config(path: &Path, text: &str) -> Result<Self, TextError> {
        let config: Value = serde_json::from_str(text).map_err(|error| TextError::Json {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let flag = |key: &'static str| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(TextError::ConfigKey {
                path: path.to_owned(),
                key,
                expected: "true, false or null",
            }),
        };
        let default = Self::default();
        Ok(Self {
            lower: flag("do_lower_case")?.unwrap_or(default.lower),
            strip_accents: flag("strip_accents")?,
            split_chinese: flag("tokenize_chinese_chars")?.unwrap_or(default.split_chinese),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of BERT's special tokens and a few words.
    const SMALL: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##s\nCat\ncaf\n##e\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("writes");
        }
        folder
    }

    fn ids(tokenizer: &Tokenizer, text: &str, length: usize) -> Vec<i64> {
        tokenizer.encode_batch([text], length).expect("encodes").input_ids
    }

    fn refusal(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let error = Tokenizer::from_folder(folder.path()).expect_err("refused").to_string();
        error.replace(&folder.path().display().to_string(), "FOLDER")
    }

    #[test]
    fn the_embedded_vocabulary_is_whole() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        assert_eq!(tokenizer.vocabulary_size(), 30_522);
        assert_eq!(tokenizer.vocabulary_file(), BERT_UNCASED_VOCABULARY);
    }

    #[test]
    fn uncased_unless_the_configuration_says_otherwise() {
        let plain = folder(&[("vocab.txt", SMALL)]);
        let uncased = Tokenizer::from_folder(plain.path()).expect("loads");
        assert_eq!(ids(&uncased, "The Cats", 6), [2, 5, 6, 7, 3, 0]);
        assert_eq!(ids(&uncased, "caf\u{e9}", 4), [2, 9, 10, 3]);

        let cased = folder(&[
            ("vocab.txt", SMALL),
            ("tokenizer_config.json", "{\"do_lower_case\": false}"),
        ]);
        let cased = Tokenizer::from_folder(cased.path()).expect("loads");
        assert_eq!(ids(&cased, "the Cats", 6), [2, 5, 8, 7, 3, 0]);
        assert_eq!(ids(&cased, "caf\u{e9}", 4), [2, 1, 3, 0]);
    }

    #[test]
    fn a_saved_tokenizer_reads_back_alike() {
        let tokenizer = Tokenizer::from_vocabulary(
            "small",
            SMALL,
            Casing { lower: true, strip_accents: Some(false), split_chinese: false },
        )
        .expect("loads");
        let saved = folder(&[
            ("vocab.txt", &tokenizer.vocabulary_file()),
            ("tokenizer_config.json", &tokenizer.config_file(512)),
        ]);
        let again = Tokenizer::from_folder(saved.path()).expect("loads");
        assert_eq!(again.casing, tokenizer.casing);
        assert_eq!(again.vocabulary_file(), SMALL);
    }

    #[test]
    fn a_whole_tokenizer_file_wins_and_its_padding_is_ours() {
        let mut source =
            Tokenizer::from_vocabulary("small", SMALL, Casing::default()).expect("loads").inner;
        source.with_padding(Some(tokenizers::PaddingParams {
            strategy: tokenizers::PaddingStrategy::Fixed(64),
            ..Default::default()
        }));
        let json = source.to_string(false).expect("serialises");
        let folder = folder(&[("vocab.txt", "unused"), ("tokenizer.json", &json)]);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("loads");
        assert_eq!(ids(&tokenizer, "The cats", 6), [2, 5, 6, 7, 3, 0]);
        assert_eq!(tokenizer.vocabulary_file(), SMALL);
    }

    #[test]
    fn pairs_are_cut_longest_first() {
        let tokenizer =
            Tokenizer::from_vocabulary("small", SMALL, Casing::default()).expect("loads");
        let encoded =
            tokenizer.encode_batch([("the cat the cat the", "cats")], 8).expect("encodes");
        assert_eq!(encoded.input_ids, [2, 5, 6, 5, 3, 6, 7, 3]);
        assert_eq!(encoded.token_type_ids, [0, 0, 0, 0, 0, 1, 1, 1]);

        let mixed = [TextInput::Single("cat"), TextInput::Pair("the", "cat")];
        let encoded = tokenizer.encode_batch(mixed, 6).expect("encodes");
        assert_eq!((encoded.batch, encoded.sequence), (2, 6));
        assert_eq!(encoded.input_ids, [2, 6, 3, 0, 0, 0, 2, 5, 3, 6, 3, 0]);
        assert_eq!(encoded.attention_mask, [1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0]);
        assert_eq!(encoded.token_type_ids, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn tokens_say_where_they_stand_in_the_text() {
        let tokenizer =
            Tokenizer::from_vocabulary("small", SMALL, Casing::default()).expect("loads");
        let text = "The  caf\u{e9}, cats";
        let tokens = tokenizer.tokens(text).expect("tokenizes");
        let parts: Vec<(i64, &str)> =
            tokens.iter().map(|token| (token.id, &text[token.start..token.end])).collect();
        assert_eq!(parts, [(5, "The"), (9, "caf"), (10, "\u{e9}"), (1, ","), (6, "cat"), (7, "s")]);
        assert_eq!(tokenizer.specials(), Specials { padding: 0, start: 2, separator: 3, mask: 4 });
    }

    #[test]
    fn batches_that_cannot_be_encoded() {
        let tokenizer =
            Tokenizer::from_vocabulary("small", SMALL, Casing::default()).expect("loads");
        let none: [&str; 0] = [];
        let error = tokenizer.encode_batch(none, 8).expect_err("refused");
        assert_eq!(error.to_string(), "no texts to encode: a batch needs at least one");
        let error = tokenizer.encode_batch([("cat", "cat")], 3).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "a sequence length of 3 is too short: the special tokens and one token of text need 4"
        );
    }

    #[test]
    fn broken_folders_are_refused_with_the_place() {
        assert_eq!(refusal(&[]), "FOLDER holds neither tokenizer.json nor vocab.txt");
        assert_eq!(
            refusal(&[("vocab.txt", "[PAD]\n[UNK]\nthe\ncat\nthe\n")]),
            "FOLDER/vocab.txt, line 5: `the` is already entry 2; ids would be ambiguous"
        );
        assert_eq!(
            refusal(&[("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n")]),
            "FOLDER/vocab.txt has no entry [MASK]: it is not the vocabulary of a BERT"
        );
        assert_eq!(
            refusal(&[("vocab.txt", SMALL), ("tokenizer_config.json", "{\"do_lower_case\": 1}")]),
            "FOLDER/tokenizer_config.json: `do_lower_case` must be true, false or null"
        );
        let cut = refusal(&[("tokenizer.json", "{\"version\": \"1.0\"")]);
        assert!(cut.starts_with("FOLDER/tokenizer.json: EOF while parsing"), "{cut}");
    }
}
