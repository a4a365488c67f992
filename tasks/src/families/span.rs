//! The part of a text that answers a question.

use std::sync::Arc;

use atb_interface::Meaning;
use atb_runtime::{Span, SpanSettings, Window, WindowError, n_best};
use atb_text::Tokenizer;

use super::Asked;
use crate::TaskError;
use crate::error::Place;
use crate::metrics::{Outcomes, exact_match, word_f1};
use crate::model::{Tokens, Wanted};
use crate::read::{Answer, Question};

/// The windows over a question's text, which cover it and overlap.
///
/// # Errors
/// [`TaskError::Text`]; [`TaskError::NoRoom`] if the question leaves none for its text.
pub(crate) fn windows(
    question: &Question,
    tokenizer: &Tokenizer,
    settings: &SpanSettings,
    place: impl Fn() -> Place,
) -> Result<Vec<Window>, TaskError> {
    let windows = Window::over(&question.text, &question.context, tokenizer, settings);
    windows.map_err(|error| match error {
        WindowError::Text(error) => error.into(),
        WindowError::NoRoom { tokens, sequence } => {
            TaskError::NoRoom { place: place(), tokens, sequence }
        }
    })
}

/// The window's tokens at which an answer begins and ends; those of `[CLS]`, zero and zero,
/// if not all of it is in the window.
pub(crate) fn positions(window: &Window, answer: &Answer) -> (usize, usize) {
    let (start, end) = (answer.start, answer.start + answer.text.trim_end().len());
    let start = start + (answer.text.len() - answer.text.trim_start().len());
    window.positions(start, end)
}

/// A window's tokens, as a model takes them.
pub(crate) fn tokens(window: &Window) -> Tokens {
    Tokens { ids: window.ids.clone(), types: window.types.clone() }
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
        let found = self::windows(question, asked.model.tokenizer(), &settings, place)?;
        of_question.extend(found.iter().map(|_| number));
        windows.extend(found);
    }
    let tokens: Vec<Tokens> = windows.iter().map(tokens).collect();
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
        super::windows(question, &tokenizer, settings, place).expect("windows")
    }

    #[test]
    fn an_answer_is_found_at_its_tokens_and_back() {
        for answer in ["1981", "The caf\u{e9}", "nobody's surprise", "opened in 1973. It closed"] {
            let question = question(answer);
            let settings = SpanSettings::default();
            let [window] = &windows(&question, &settings)[..] else { panic!("one window") };
            let (begin, end) = positions(window, &question.answers[0]);
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
    fn an_answer_is_in_some_windows() {
        let question = question("The caf\u{e9}");
        let settings = SpanSettings { sequence: 18, stride: 4, ..SpanSettings::default() };
        let windows = windows(&question, &settings);
        let inside: Vec<bool> =
            windows.iter().map(|window| positions(window, &question.answers[0]).0 > 0).collect();
        assert!(inside.contains(&true) && inside.contains(&false));
    }

    #[test]
    fn a_question_that_leaves_no_room_is_refused() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let settings = SpanSettings { sequence: 8, ..SpanSettings::default() };
        let place = || Place::question("squad.json".as_ref(), "q");
        let error = super::windows(&question("1981"), &tokenizer, &settings, place);
        assert_eq!(
            error.expect_err("refused").to_string(),
            "squad.json: question q is 8 tokens long, which leaves no room for its text in 8"
        );
    }
}
