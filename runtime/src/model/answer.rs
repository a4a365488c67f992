//! What an app gets: labels with probabilities, answers with their places.

use atb_bundle::Activation;

use crate::spans::Span;

/// A label and how probable it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Its number among the model's labels.
    pub index: usize,
    /// How probable it is, from 0 to 1.
    pub probability: f32,
}

/// A part of a text that answers a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The part of the text.
    pub text: String,
    /// Where it begins in the text, in characters (Unicode scalar values).
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Where it begins and ends, in bytes of UTF-8.
    pub bytes: (usize, usize),
    /// How probable it is among the answers that were found, from 0 to 1.
    pub probability: f32,
    /// The sum of the logits of its begin and end, to compare answers from several texts by.
    pub score: f32,
}

/// Probabilities of one text's labels.
pub(super) fn probabilities(logits: &[f32], activation: Activation) -> Vec<f32> {
    match activation {
        Activation::Sigmoid => logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        Activation::Softmax => {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
            let sum: f32 = powers.iter().sum();
            powers.iter().map(|power| power / sum).collect()
        }
    }
}

/// The parts of `text` that are answers, best first as they come.
pub(super) fn answers(text: &str, spans: &[Span]) -> Vec<Answer> {
    let scores: Vec<f32> = spans.iter().map(|span| span.score).collect();
    let probabilities = probabilities(&scores, Activation::Softmax);
    let characters = |end: usize| text.get(..end).map(|before| before.chars().count());
    let answer = |(span, probability): (&Span, f32)| {
        Some(Answer {
            text: text.get(span.start..span.end)?.to_owned(),
            start: characters(span.start)?,
            end: characters(span.end)?,
            bytes: (span.start, span.end),
            probability,
            score: span.score,
        })
    };
    spans.iter().zip(probabilities).filter_map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_probabilities() {
        let even = probabilities(&[1000.0, 1000.0], Activation::Softmax);
        assert_eq!(even, [0.5, 0.5]);
        let [low, high] = probabilities(&[0.0, 3.0f32.ln()], Activation::Softmax)[..] else {
            panic!("two")
        };
        assert!((low - 0.25).abs() < 1e-6 && (high - 0.75).abs() < 1e-6);
        let each = probabilities(&[0.0, 3.0f32.ln()], Activation::Sigmoid);
        assert!((each[0] - 0.5).abs() < 1e-6 && (each[1] - 0.75).abs() < 1e-6);
        assert!(probabilities(&[], Activation::Softmax).is_empty());
    }

    #[test]
    fn answers_stand_at_characters() {
        let text = "\u{1f600} caf\u{e9} 1981";
        let start = text.find("1981").expect("there");
        let spans = [Span { start, end: start + 4, score: 1.0 }];
        let answers = answers(text, &spans);
        assert_eq!((answers[0].text.as_str(), answers[0].start, answers[0].end), ("1981", 7, 11));
        assert_eq!((answers[0].bytes, answers[0].probability), ((start, start + 4), 1.0));
        // What splits a character is no part of the text.
        let split = [Span { start: 1, end: 4, score: 1.0 }];
        assert!(super::answers(text, &split).is_empty());
    }
}
