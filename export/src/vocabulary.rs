//! Leaving out the words that an app does not need: the tokenizer and the table of word
//! embeddings shrink together.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use atb_text::Tokenizer;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::ExportError;

/// Which entries of the vocabulary a bundle keeps, beside the special tokens and the characters
/// of ASCII, of which every English word can be put together.
///
/// A text whose tokens are all kept has the same tokens as before, and the same outputs: of the
/// entries that a word begins with the longest is taken, and it is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Those that occur in a text file, or, if every line of it is an entry, those.
    File(PathBuf),
    /// So many, in the vocabulary's order, which is that of how frequent words are in BERT's.
    First(usize),
}

impl FromStr for Vocabulary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) => Err("a vocabulary has at least one entry".to_owned()),
            Ok(count) => Ok(Self::First(count)),
            Err(_) => Ok(Self::File(text.into())),
        }
    }
}

/// How much of its model's vocabulary a bundle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Entries that it has.
    pub entries: usize,
    /// Entries of the model's.
    pub of: usize,
}

/// A tokenizer with fewer entries.
pub(crate) struct Pruned {
    pub(crate) tokenizer: Tokenizer,
    /// The former number of each entry.
    rows: Vec<usize>,
}

impl Pruned {
    /// The tokenizer with the entries that `vocabulary` says.
    pub(crate) fn new(tokenizer: &Tokenizer, vocabulary: &Vocabulary) -> Result<Self, ExportError> {
        let entries = tokenizer.vocabulary_file();
        let entries: Vec<&str> = entries.lines().collect();
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        let always = |entry: &str| is_special(entry) || is_ascii_character(entry);
        let always = entries.iter().enumerate().filter(|(_, entry)| always(entry));
        kept.extend(always.map(|(id, _)| id));
        match vocabulary {
            Vocabulary::First(count) => {
                for (id, entry) in entries.iter().enumerate() {
                    if kept.len() >= *count {
                        break;
                    }
                    // Entries for later use are no words.
                    if !entry.starts_with("[unused") {
                        kept.insert(id);
                    }
                }
            }
            Vocabulary::File(path) => kept.extend(of_file(path, tokenizer, &entries)?),
        }
        let text: String = kept.iter().map(|id| format!("{}\n", entries[*id])).collect();
        let tokenizer = tokenizer.with_vocabulary(&text)?;
        Ok(Self { tokenizer, rows: kept.into_iter().collect() })
    }

    /// How many entries there are of how many.
    pub(crate) fn kept(&self, of: usize) -> Kept {
        Kept { entries: self.rows.len(), of }
    }

    /// The rows of a table `[entries, width]` that are kept.
    pub(crate) fn table(&self, (shape, values): (Vec<usize>, Vec<f32>)) -> (Vec<usize>, Vec<f32>) {
        let width = shape.get(1).copied().unwrap_or(1);
        let rows = self.rows.iter().filter_map(|row| values.get(row * width..(row + 1) * width));
        let values: Vec<f32> = rows.flatten().copied().collect();
        (vec![self.rows.len(), width], values)
    }
}

/// The entries that the file `path` lists, or that its text is made of.
fn of_file(
    path: &Path,
    tokenizer: &Tokenizer,
    entries: &[&str],
) -> Result<Vec<usize>, ExportError> {
    let text = fs::read_to_string(path)?;
    let ids: HashMap<&str, usize> =
        entries.iter().enumerate().map(|(id, entry)| (*entry, id)).collect();
    let lines = || text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let listed: Option<Vec<usize>> = lines().map(|line| ids.get(line).copied()).collect();
    if let Some(listed) = listed {
        return Ok(listed);
    }
    let mut found = BTreeSet::new();
    for line in lines() {
        let tokens = tokenizer.tokens(line)?;
        found.extend(tokens.into_iter().filter_map(|token| usize::try_from(token.id).ok()));
    }
    Ok(found.into_iter().collect())
}

/// For each entry of the bundle's vocabulary its number in the model's; `None` if they are the
/// same, or the one is not of the other.
pub(crate) fn numbers(bundle: &Tokenizer, model: &Tokenizer) -> Option<Vec<i64>> {
    let (bundle, model) = (bundle.vocabulary_file(), model.vocabulary_file());
    if bundle == model {
        return None;
    }
    let ids: HashMap<&str, i64> = model.lines().zip(0..).collect();
    bundle.lines().map(|entry| ids.get(entry).copied()).collect()
}

fn is_special(entry: &str) -> bool {
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].contains(&entry)
}

fn is_ascii_character(entry: &str) -> bool {
    let plain = entry.strip_prefix("##").filter(|rest| !rest.is_empty()).unwrap_or(entry);
    plain.len() == 1 && plain.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pruned(vocabulary: &str) -> Pruned {
        let tokenizer = Tokenizer::bert_uncased().expect("built in");
        Pruned::new(&tokenizer, &vocabulary.parse().expect("parses")).expect("prunes")
    }

    #[test]
    fn texts_of_kept_entries_have_the_same_tokens() {
        let whole = Tokenizer::bert_uncased().expect("built in");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text.txt");
        let text = "The battery lasts two days.\n\nIt charges quickly, doesn't it?\n";
        std::fs::write(&path, text).expect("writes");
        let pruned = pruned(&path.display().to_string());
        let entries = pruned.tokenizer.vocabulary_size();
        assert_eq!(pruned.kept(30_522), Kept { entries, of: 30_522 });
        assert!((100..300).contains(&entries), "{entries}");
        for line in text.lines() {
            let before = whole.tokens(line).expect("tokenizes");
            let after = pruned.tokenizer.tokens(line).expect("tokenizes");
            assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(&after) {
                assert_eq!((before.start, before.end), (after.start, after.end));
                assert_eq!(before.id, pruned.rows[after.id as usize] as i64);
            }
        }
        // Another English word is spelled.
        let spelled = pruned.tokenizer.tokens("zebra").expect("tokenizes");
        let unknown = pruned.tokenizer.tokens("\u{4e16}").expect("tokenizes");
        assert_eq!((spelled.len(), unknown.len()), (5, 1));
        let numbers = numbers(&pruned.tokenizer, &whole).expect("a part of it");
        assert_eq!(numbers.len(), entries);
        assert_eq!(super::numbers(&whole, &whole), None);

        // A list of entries is no text.
        std::fs::write(&path, "battery\n##s\n").expect("writes");
        let listed = super::tests::pruned(&path.display().to_string());
        assert!(listed.rows.len() < entries);
        assert_eq!(listed.tokenizer.tokens("batterys").expect("tokenizes").len(), 2);
    }

    #[test]
    fn the_first_are_the_most_frequent() {
        let pruned = pruned("8000");
        assert_eq!(pruned.tokenizer.vocabulary_size(), 8_000);
        let table = pruned.table((vec![30_522, 2], (0..61_044).map(|i| i as f32).collect()));
        assert_eq!((table.0, table.1.len()), (vec![8_000, 2], 16_000));
        assert_eq!(table.1[..2], [0.0, 1.0]);
        assert!("0".parse::<Vocabulary>().is_err());
    }
}
