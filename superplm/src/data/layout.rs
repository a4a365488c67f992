//! How a text becomes sequences.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// What a sequence of a dataset holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Text of full length, wherever that begins and ends; documents are separated by `[SEP]`.
    #[default]
    Packed,
    /// One paragraph; what is longer is cut.
    Paragraphs,
    /// One sentence, by the rules of Unicode (UAX #29); what is longer is cut.
    Sentences,
}

impl Layout {
    const ALL: [Self; 3] = [Self::Packed, Self::Paragraphs, Self::Sentences];

    /// The texts that a paragraph consists of: its sentences, or itself.
    #[must_use]
    pub fn texts(self, paragraph: &str) -> Vec<&str> {
        match self {
            Self::Packed | Self::Paragraphs => vec![paragraph],
            Self::Sentences => paragraph.unicode_sentences().map(str::trim_end).collect(),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packed => "packed",
            Self::Paragraphs => "paragraphs",
            Self::Sentences => "sentences",
        })
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|layout| layout.to_string() == name)
            .ok_or_else(|| "expected `packed`, `paragraphs` or `sentences`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_has_sentences_and_a_name_has_one_layout() {
        let paragraph = "It rains. Does it? 3.5 litres, they say!  Yes";
        let sentences = Layout::Sentences.texts(paragraph);
        assert_eq!(sentences, ["It rains.", "Does it?", "3.5 litres, they say!", "Yes"]);
        assert_eq!(Layout::Paragraphs.texts(paragraph), [paragraph]);
        for layout in Layout::ALL {
            assert_eq!(layout.to_string().parse(), Ok(layout));
            let json = serde_json::to_value(layout).expect("a name");
            assert_eq!(json, layout.to_string());
        }
    }
}
