//! What an app gets of a model that labels tokens: parts of a text with labels.

use std::ops::Range;

use atb_text::Token;

/// A part of a text, and its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// The part of the text.
    pub text: String,
    /// Its label, without the `B-` or `I-` that says whether a part begins or goes on.
    pub label: String,
    /// The number of its first word's label among the model's labels.
    pub index: usize,
    /// Where it begins in the text, in characters (Unicode scalar values).
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Where it begins and ends, in bytes of UTF-8.
    pub bytes: (usize, usize),
    /// How probable the label is, from 0 to 1: the mean over the words of the part.
    pub probability: f32,
}

/// What words that are no part of anything are labelled with.
const OUTSIDE: &str = "O";

/// A word and the label of its first token.
struct Word {
    bytes: Range<usize>,
    index: usize,
    probability: f32,
}

/// The parts of `count` tokens that a model reads at once, `room` of them: all of them, or as
/// many as overlap by half.
pub(super) fn windows(count: usize, room: usize) -> Vec<Range<usize>> {
    let step = (room / 2).max(1);
    let mut windows = Vec::new();
    let mut start = 0;
    loop {
        let end = count.min(start + room);
        windows.push(start..end);
        if end == count {
            return windows;
        }
        start += step;
    }
}

/// The window in which token `at` of `count` has most text around it.
pub(super) fn widest(windows: &[Range<usize>], at: usize, count: usize) -> Option<usize> {
    let around = |window: &Range<usize>| {
        // The text's own begin and end hide nothing.
        let before = if window.start == 0 { usize::MAX } else { at - window.start };
        let after = if window.end == count { usize::MAX } else { window.end - at - 1 };
        before.min(after)
    };
    let holding = windows.iter().enumerate().filter(|(_, window)| window.contains(&at));
    // The first of equals.
    let best = holding.rev().max_by_key(|(_, window)| around(window));
    best.map(|(number, _)| number)
}

/// The labelled parts of `text`: a word has the label of its first token, and neighbouring words
/// of one label are one part, unless the later one begins another (`B-`). What is labelled `O` is
/// left out.
pub(super) fn tags(
    text: &str,
    tokens: &[Token],
    continues: impl Fn(&Token) -> bool,
    probabilities: &[Vec<f32>],
    labels: &[String],
) -> Vec<Tag> {
    let mut words: Vec<Word> = Vec::new();
    for (token, probabilities) in tokens.iter().zip(probabilities) {
        match words.last_mut().filter(|_| continues(token)) {
            Some(word) => word.bytes.end = token.end,
            None => {
                let best = probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
                let Some((index, probability)) = best else { continue };
                let bytes = token.start..token.end;
                words.push(Word { bytes, index, probability: *probability });
            }
        }
    }
    let name = |word: &Word| labels.get(word.index).map_or("", String::as_str);
    let kind = |word: &Word| {
        let name = name(word);
        name.strip_prefix("B-").or_else(|| name.strip_prefix("I-")).unwrap_or(name).to_owned()
    };
    let goes_on =
        |one: &Word, next: &Word| kind(one) == kind(next) && !name(next).starts_with("B-");
    let characters = |end: usize| text.get(..end).map(|before| before.chars().count());
    let tag = |part: &[Word]| {
        let (first, last) = (part.first()?, part.last()?);
        let (start, end) = (first.bytes.start, last.bytes.end);
        let sum: f32 = part.iter().map(|word| word.probability).sum();
        (name(first) != OUTSIDE).then_some(())?;
        Some(Tag {
            text: text.get(start..end)?.to_owned(),
            label: kind(first),
            index: first.index,
            start: characters(start)?,
            end: characters(end)?,
            bytes: (start, end),
            probability: sum / part.len() as f32,
        })
    };
    words.chunk_by(goes_on).filter_map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_read_where_most_is_around_it() {
        let only = |count| windows(count, 4).first().map(|window| (window.start, window.end));
        assert_eq!((only(0), windows(0, 4).len()), (Some((0, 0)), 1));
        assert_eq!((only(4), windows(4, 4).len()), (Some((0, 4)), 1));
        let windows = windows(9, 4);
        assert_eq!(windows, [0..4, 2..6, 4..8, 6..9]);
        let found: Vec<_> = (0..9).map(|at| widest(&windows, at, 9).expect("covered")).collect();
        assert_eq!(found, [0, 0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(super::windows(3, 1), [0..1, 1..2, 2..3]);
    }

    #[test]
    fn words_of_one_label_are_one_part() {
        const TEXT: &str = "caf\u{e9} Ann Lee met Bob Ray.";
        let labels = ["O", "B-PER", "I-PER", "I-LOC"].map(str::to_owned);
        let word = |part: &str| TEXT.find(part).map(|start| (start, start + part.len()));
        let parts = ["caf\u{e9}", "An", "n", "Lee", "met", "Bob", "Ray", "."];
        let mut from = 0;
        let tokens = parts.map(|part| {
            let start = from + TEXT[from..].find(part).expect("there");
            from = start + part.len();
            Token { id: i64::from(part == "n"), start, end: from }
        });
        assert_eq!(word("Lee"), Some((tokens[3].start, tokens[3].end)));
        let sure = |index: usize, probability: f32| {
            let mut row = vec![0.0; 4];
            row[index] = probability;
            row
        };
        // The label of the second piece of a word counts for nothing.
        let rows = [
            sure(3, 0.5),
            sure(1, 0.8),
            sure(3, 0.9),
            sure(2, 0.6),
            sure(0, 0.9),
            sure(2, 0.9),
            sure(1, 0.7),
            sure(0, 0.9),
        ];
        let found = tags(TEXT, &tokens, |token| token.id == 1, &rows, &labels);
        let told: Vec<_> = found
            .iter()
            .map(|tag| (&*tag.text, &*tag.label, tag.index, tag.start, tag.end))
            .collect();
        let expected = [
            ("caf\u{e9}", "LOC", 3, 0, 4),
            ("Ann Lee", "PER", 1, 5, 12),
            ("Bob", "PER", 2, 17, 20),
            ("Ray", "PER", 1, 21, 24),
        ];
        assert_eq!(told, expected);
        assert!((found[1].probability - 0.7).abs() < 1e-6);
        assert_eq!(found[1].bytes, (6, 13));
        assert!(tags("", &[], |_| false, &[], &labels).is_empty());
    }
}
