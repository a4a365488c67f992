//! The JSON of SQuAD 1.1.

use std::path::Path;
use std::sync::Arc;

use atb_files::{JsonProblem, without_byte_order_mark};
use serde::Deserialize;

use crate::TaskError;
use crate::error::Place;

/// A question on a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its id.
    pub id: String,
    /// The question.
    pub text: String,
    /// The text that has the answer.
    pub context: Arc<str>,
    /// The answers that count as right, at least one.
    pub answers: Vec<Answer>,
}

/// An answer, as a part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its words.
    pub text: String,
    /// Where it begins in the text, in bytes.
    pub start: usize,
}

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
    question: String,
    answers: Vec<Given>,
}

#[derive(Deserialize)]
struct Given {
    text: String,
    /// In characters.
    answer_start: usize,
}

pub(super) fn read(path: &Path) -> Result<Vec<Question>, TaskError> {
    let bytes = fs_err::read(path)?;
    let file: File = serde_json::from_slice(without_byte_order_mark(&bytes)).map_err(|error| {
        TaskError::Task {
            path: path.to_owned(),
            problem: JsonProblem::from(error).to_string(),
            help: "the file must have the layout of SQuAD 1.1: data, paragraphs, qas".to_owned(),
        }
    })?;
    let mut questions = Vec::new();
    for paragraph in file.data.into_iter().flat_map(|article| article.paragraphs) {
        let context: Arc<str> = paragraph.context.into();
        let starts: Vec<usize> = context.char_indices().map(|(start, _)| start).collect();
        for Asked { id, question, answers } in paragraph.qas {
            let answer = |given| answer(path, &id, &context, &starts, given);
            let answers = answers.into_iter().map(answer).collect::<Result<Vec<_>, _>>()?;
            if answers.is_empty() {
                return Err(TaskError::Answer {
                    place: Place::question(path, &id),
                    problem: "it has no answer".to_owned(),
                    help: "every question of SQuAD 1.1 has one; those of SQuAD 2.0 without an \
                           answer are not supported"
                        .to_owned(),
                });
            }
            questions.push(Question { id, text: question, context: context.clone(), answers });
        }
    }
    if questions.is_empty() {
        return Err(TaskError::Empty { path: path.to_owned(), header: false });
    }
    Ok(questions)
}

/// Finds an answer in its context, whose characters begin at `starts`.
fn answer(
    path: &Path,
    id: &str,
    context: &str,
    starts: &[usize],
    given: Given,
) -> Result<Answer, TaskError> {
    let refused = |problem: String, help: String| {
        Err(TaskError::Answer { place: Place::question(path, id), problem, help })
    };
    let Given { text, answer_start } = given;
    let shown: String = text.chars().take(60).collect();
    if text.trim().is_empty() {
        let help = "write the words of the answer".to_owned();
        return refused("its answer is empty".to_owned(), help);
    }
    match starts.get(answer_start) {
        Some(start) if context[*start..].starts_with(&text) => Ok(Answer { text, start: *start }),
        _ => match context.find(&text) {
            Some(place) => refused(
                format!("its answer `{shown}` is not at character {answer_start} of the context"),
                format!("it is at character {}", context[..place].chars().count()),
            ),
            None => refused(
                format!("its answer `{shown}` is not in the context"),
                "an answer is a part of its context, letter by letter".to_owned(),
            ),
        },
    }
}
