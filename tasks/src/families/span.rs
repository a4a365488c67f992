//! The part of a text that answers a question: windows over long texts, and the best answers.

use std::sync::Arc;

use atb_interface::Meaning;
use atb_text::{Specials, Token, Tokenizer};

use super::Asked;
use crate::TaskError;
use crate::error::Place;
use crate::metrics::{Outcomes, exact_match, word_f1};
use crate::model::{Tokens, Wanted};
use crate::read::{Answer, Question};

/// How questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanSettings {
    /// Most tokens of a question, its text and the special tokens.
    pub sequence: usize,
    /// Most tokens of a question; the rest is cut off.
    pub question: usize,
    /// Tokens by which a window over a text that is too long moves.
    pub stride: usize,
    /// Most tokens of an answer.
    pub answer: usize,
    /// How many begins and ends of an answer are looked at in each window.
    pub n_best: usize,
}

impl Default for SpanSettings {
    /// As BERT's.
    fn default() -> Self {
        Self { sequence: 384, question: 64, stride: 128, answer: 30, n_best: 20 }
    }
}

/// A question with a part of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// `[CLS] question [SEP] text [SEP]`.
    pub(crate) tokens: Tokens,
    /// Where the text's tokens begin.
    first: usize,
    /// The bytes of the text that each of its tokens here stands for.
    bytes: Vec<(usize, usize)>,
}

impl Window {
    /// The windows over a question's text, which cover it and overlap.
    ///
    /// # Errors
    /// [`TaskError::Text`]; [`TaskError::NoRoom`] if the question leaves none for its text.
    pub fn of(
        question: &Question,
        tokenizer: &Tokenizer,
        settings: &SpanSettings,
        place: impl Fn() -> Place,
    ) -> Result<Vec<Self>, TaskError> {
        let mut asked = tokenizer.tokens(&question.text)?;
        asked.truncate(settings.question);
        let text = tokenizer.tokens(&question.context)?;
        let Some(room) = settings.sequence.checked_sub(asked.len() + 3).filter(|room| *room > 0)
        else {
            let (tokens, sequence) = (asked.len() + 3, settings.sequence);
            return Err(TaskError::NoRoom { place: place(), tokens, sequence });
        };
        let step = settings.stride.clamp(1, room);
        let mut windows = Vec::new();
        let mut start = 0;
        loop {
            let end = text.len().min(start + room);
            windows.push(Self::new(&asked, &text[start..end], tokenizer.specials()));
            if end == text.len() {
                return Ok(windows);
            }
            start += step;
        }
    }

    fn new(asked: &[Token], text: &[Token], specials: Specials) -> Self {
        let Specials { start, separator, .. } = specials;
        let ids = |tokens: &[Token]| tokens.iter().map(|token| token.id).collect::<Vec<_>>();
        let ids = [vec![start], ids(asked), vec![separator], ids(text), vec![separator]].concat();
        let first = asked.len() + 2;
        let types = (0..ids.len()).map(|at| i64::from(at >= first)).collect();
        let bytes = text.iter().map(|token| (token.start, token.end)).collect();
        Self { tokens: Tokens { ids, types }, first, bytes }
    }

    /// The window's tokens at which an answer begins and ends; those of `[CLS]`, zero and zero,
    /// if not all of it is in the window.
    #[must_use]
    pub fn positions(&self, answer: &Answer) -> (usize, usize) {
        let (start, end) = (answer.start, answer.start + answer.text.trim_end().len());
        let start = start + (answer.text.len() - answer.text.trim_start().len());
        let begins = self.bytes.iter().position(|(from, to)| *from <= start && start < *to);
        let ends = self.bytes.iter().position(|(from, to)| *from < end && end <= *to);
        match (begins, ends) {
            (Some(begins), Some(ends)) if begins <= ends => {
                (self.first + begins, self.first + ends)
            }
            _ => (0, 0),
        }
    }

    /// The likeliest answers by the logits of their begins and ends, best first.
    #[must_use]
    pub fn best(&self, begins: &[f32], ends: &[f32], settings: &SpanSettings) -> Vec<Span> {
        let best = |logits: &[f32]| {
            let logits = &logits[self.first..self.first + self.bytes.len()];
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            order.truncate(settings.n_best);
            order
        };
        let last = best(ends);
        let mut spans = Vec::new();
        for begin in best(begins) {
            for end in &last {
                if *end < begin || *end - begin >= settings.answer {
                    continue;
                }
                spans.push(Span {
                    start: self.bytes[begin].0,
                    end: self.bytes[*end].1,
                    score: begins[self.first + begin] + ends[self.first + end],
                });
            }
        }
        spans.sort_by(|a, b| b.score.total_cmp(&a.score));
        spans.truncate(settings.n_best);
        spans
    }
}

/// A part of a text that may be the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The sum of the logits of its begin and end.
    pub score: f32,
}

/// The best answers over the windows of one question, each part of the text once.
#[must_use]
pub fn n_best(windows: impl IntoIterator<Item = Vec<Span>>, count: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = windows.into_iter().flatten().collect();
    spans.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut best: Vec<Span> = Vec::with_capacity(count);
    for span in spans {
        if best.len() == count {
            break;
        }
        if !best.iter().any(|known| (known.start, known.end) == (span.start, span.end)) {
            best.push(span);
        }
    }
    best
}

pub(crate) fn outcomes(
    asked: &Asked<'_>,
    questions: &[Question],
    settings: &SpanSettings,
) -> Result<Outcomes, TaskError> {
    let longest = asked.model.longest(settings.sequence);
    let settings = SpanSettings { sequence: longest, ..*settings };
    let mut windows: Vec<Window> = Vec::new();
    let mut of_question = Vec::new();
    for (number, question) in questions.iter().enumerate() {
        let place = || Place::question(&asked.split.path, &question.id);
        let found = Window::of(question, asked.model.tokenizer(), &settings, place)?;
        of_question.extend(found.iter().map(|_| number));
        windows.extend(found);
    }
    let tokens: Vec<Tokens> = windows.iter().map(|window| window.tokens.clone()).collect();
    let logits = asked.model.run(&tokens, Wanted::Span, &asked.task.name, |row| {
        let begins: Arc<[f32]> = row.values(Meaning::SpanStart)?.into();
        let ends: Arc<[f32]> = row.values(Meaning::SpanEnd)?.into();
        Some((begins, ends))
    })?;
    let mut spans: Vec<Vec<Vec<Span>>> = vec![Vec::new(); questions.len()];
    for ((window, number), (begins, ends)) in windows.iter().zip(of_question).zip(&logits) {
        spans[number].push(window.best(begins, ends, &settings));
    }
    let (mut exact, mut f1) = (Vec::new(), Vec::new());
    for (question, spans) in questions.iter().zip(spans) {
        let best = n_best(spans, 1);
        let answer = best.first().map_or("", |span| &question.context[span.start..span.end]);
        let right = || question.answers.iter().map(|answer| answer.text.as_str());
        exact.push(exact_match(answer, right()));
        f1.push(word_f1(answer, right()));
    }
    Ok(Outcomes::Answers { exact, f1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &str = "The caf\u{e9} opened in 1973. It closed in 1981, to nobody's surprise.";

    fn question(answer: &str) -> Question {
        Question {
            id: "q".to_owned(),
            text: "When did it close?".to_owned(),
            context: CONTEXT.into(),
            answers: vec![Answer {
                text: answer.to_owned(),
                start: CONTEXT.find(answer).expect("there"),
            }],
        }
    }

    fn windows(question: &Question, settings: &SpanSettings) -> Vec<Window> {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let place = || Place::question("squad.json".as_ref(), &question.id);
        Window::of(question, &tokenizer, settings, place).expect("windows")
    }

    #[test]
    fn an_answer_is_found_at_its_tokens_and_back() {
        for answer in ["1981", "The caf\u{e9}", "nobody's surprise", "opened in 1973. It closed"] {
            let question = question(answer);
            let settings = SpanSettings::default();
            let [window] = &windows(&question, &settings)[..] else { panic!("one window") };
            let (begin, end) = window.positions(&question.answers[0]);
            assert!(begin > 0, "{answer}");
            let logits = |at: usize| {
                let mut logits = vec![0.0; settings.sequence];
                logits[at] = 5.0;
                // What lies outside of the text is never an answer.
                logits[0] = 9.0;
                logits
            };
            let best = window.best(&logits(begin), &logits(end), &settings)[0];
            assert_eq!(&CONTEXT[best.start..best.end], answer);
            assert_eq!(best.score, 10.0);
        }
    }

    #[test]
    fn windows_cover_the_text_and_the_answer_is_in_some() {
        let question = question("The caf\u{e9}");
        let settings = SpanSettings { sequence: 18, stride: 4, ..SpanSettings::default() };
        let windows = windows(&question, &settings);
        assert!(windows.len() > 2);
        let mut covered = 0;
        for window in &windows {
            assert!(window.tokens.ids.len() <= 18);
            assert_eq!(window.tokens.ids.len(), window.tokens.types.len());
            let (from, to) = (window.bytes[0].0, window.bytes[window.bytes.len() - 1].1);
            assert!(CONTEXT[covered.min(from)..from].trim().is_empty());
            covered = to;
        }
        assert_eq!(covered, CONTEXT.len());
        let inside: Vec<bool> =
            windows.iter().map(|window| window.positions(&question.answers[0]).0 > 0).collect();
        assert!(inside.contains(&true) && inside.contains(&false));
    }

    #[test]
    fn a_question_that_leaves_no_room_is_refused() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let settings = SpanSettings { sequence: 8, ..SpanSettings::default() };
        let place = || Place::question("squad.json".as_ref(), "q");
        let error = Window::of(&question("1981"), &tokenizer, &settings, place);
        assert_eq!(
            error.expect_err("refused").to_string(),
            "squad.json: question q is 8 tokens long, which leaves no room for its text in 8"
        );
    }

    #[test]
    fn the_best_of_all_windows_are_told_once_each() {
        let span = |start, score| Span { start, end: start + 1, score };
        let best = n_best([vec![span(0, 1.0), span(3, 0.5)], vec![span(3, 2.0), span(5, 0.1)]], 2);
        assert_eq!(best, [span(3, 2.0), span(0, 1.0)]);
    }
}
