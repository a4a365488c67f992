//! Metrics of answers, by the rules of SQuAD 1.1's `evaluate-v1.1.py`.

use std::collections::HashMap;

/// Words that do not count.
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// An answer in lower case, without ASCII punctuation and articles, its words separated by
/// single spaces.
#[must_use]
pub fn normalised(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let plain: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    // An article counts as one wherever it stands between characters that are not of words.
    let mut kept = String::with_capacity(plain.len());
    let mut word = String::new();
    for c in plain.chars().chain([' ']) {
        if c.is_alphanumeric() {
            word.push(c);
            continue;
        }
        kept.push_str(if ARTICLES.contains(&word.as_str()) { " " } else { &word });
        word.clear();
        kept.push(c);
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One if `answer` is one of `right` but for case, punctuation and articles, else zero.
#[must_use]
pub fn exact_match<'a>(answer: &str, right: impl IntoIterator<Item = &'a str>) -> f64 {
    let answer = normalised(answer);
    f64::from(u8::from(right.into_iter().any(|right| normalised(right) == answer)))
}

/// F1 of the words of `answer` and of the one of `right` that it comes nearest to.
#[must_use]
pub fn word_f1<'a>(answer: &str, right: impl IntoIterator<Item = &'a str>) -> f64 {
    let answer = normalised(answer);
    right.into_iter().map(|right| f1(&answer, &normalised(right))).fold(0.0, f64::max)
}

fn f1(answer: &str, right: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    right
        .split(' ')
        .filter(|word| !word.is_empty())
        .for_each(|word| *left.entry(word).or_default() += 1);
    let expected: usize = left.values().sum();
    let (mut given, mut common) = (0, 0);
    for word in answer.split(' ').filter(|word| !word.is_empty()) {
        given += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) =
        (f64::from(common) / f64::from(given), f64::from(common) / expected as f64);
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from `normalize_answer` of SQuAD's `evaluate-v1.1.py`, in Python 3.11.
    #[test]
    fn answers_are_normalised_as_squad_does() {
        let cases = [
            ("The  Eiffel-Tower, in Paris!", "eiffeltower in paris"),
            ("an A.I. system", "ai system"),
            ("a", ""),
            (
                "Theatre the\u{2014}an \u{dc}n\u{ef}code\u{2019}s \u{c9}T\u{c9}",
                "theatre \u{2014} \u{fc}n\u{ef}code\u{2019}s \u{e9}t\u{e9}",
            ),
            ("self_test and\u{a0}the end", "selftest and end"),
            ("$1,200.50 (about)", "120050 about"),
        ];
        for (answer, expected) in cases {
            assert_eq!(normalised(answer), expected);
        }
    }

    /// Expected values from `f1_score` and `exact_match_score` of the same.
    #[test]
    fn words_are_compared_as_squad_does() {
        let cases = [
            ("the Eiffel Tower in Paris", "Eiffel Tower", 0.6666666666666666, 0.0),
            ("Paris, Paris", "in Paris", 0.5, 0.0),
            ("A cat", "the cat", 1.0, 1.0),
            ("dog", "cat", 0.0, 0.0),
            ("a", "the", 0.0, 1.0),
        ];
        for (answer, right, expected, exact) in cases {
            assert_eq!(word_f1(answer, [right]), expected, "{answer}");
            assert_eq!(exact_match(answer, [right]), exact, "{answer}");
        }
        assert_eq!(word_f1("cat", ["dog", "a cat"]), 1.0);
        assert_eq!(exact_match("cat", ["dog", "a cat"]), 1.0);
    }
}
