//! Examples as a model is trained on them: token ids, what is right, and a teacher's logits.

use std::collections::HashMap;

use atb_interface::Meaning;
use atb_runtime::Window;
use atb_text::Tokenizer;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::TaskError;
use crate::error::Place;
use crate::evaluate::{EvaluateSettings, check_task};
use crate::families::{Asked, classification, span, tokens_of};
use crate::model::{Model, Tokens, Wanted};
use crate::read::{Example, Examples, Question, Split, Target};
use crate::task::Task;

/// An example, or a window over a question's text, as a model is trained on it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingExample {
    /// Token ids, special ones included, without padding.
    pub ids: Vec<i64>,
    /// Zero for the first text, one for the second.
    pub types: Vec<i64>,
    /// What is right.
    pub target: TrainingTarget,
    /// The logits of a teacher, if there is one: of the task's labels in their order, the score,
    /// or of the begin and then of the end of every token.
    pub teacher: Option<Vec<f32>>,
}

/// What is right for an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrainingTarget {
    /// The label, by its number among the split's.
    Label(usize),
    /// The score.
    Score(f64),
    /// The first and the last token of the answer; both zero in a window that lacks some of it.
    Span(usize, usize),
}

/// The examples of a split as a model with this tokenizer is trained on them, and what `teacher`,
/// a model that was fine-tuned on the task, makes of them.
///
/// # Errors
/// [`TaskError`]: a task that is of embeddings, a text that cannot be tokenized, a teacher of
/// another task or, for questions, of another tokenizer.
pub fn training_examples(
    task: &Task,
    split: &Split,
    tokenizer: &Tokenizer,
    teacher: Option<&Model>,
    settings: &EvaluateSettings,
) -> Result<Vec<TrainingExample>, TaskError> {
    if task.kind.is_of_embeddings() {
        return Err(TaskError::NothingToTrain { task: task.name.clone() });
    }
    if let Some(teacher) = teacher {
        check_task(teacher, task)?;
    }
    let asked =
        |model| Asked { model, task, split, sequence: settings.sequence, frequencies: None };
    match &split.examples {
        Examples::Rows(rows) => {
            let logits = teacher.map(|teacher| of_teacher(&asked(teacher), rows)).transpose()?;
            let mut logits = logits.map(Vec::into_iter);
            let example = |row: &Example| {
                let Tokens { ids, types } = tokens_of(row, tokenizer, settings.sequence)?;
                let target = match row.target {
                    Target::Label(label) => TrainingTarget::Label(label),
                    Target::Score(score) => TrainingTarget::Score(score),
                    Target::Pair => {
                        return Err(TaskError::NothingToTrain { task: task.name.clone() });
                    }
                };
                let teacher = logits.as_mut().and_then(Iterator::next);
                Ok(TrainingExample { ids, types, target, teacher })
            };
            rows.iter().map(example).collect()
        }
        Examples::Questions(questions) => {
            let windows = windows(split, questions, tokenizer, settings)?;
            let logits = match teacher {
                Some(teacher) => Some(spans_of_teacher(&asked(teacher), &windows)?),
                None => None,
            };
            let mut logits = logits.map(Vec::into_iter);
            let example = |(window, question): (Window, &Question)| {
                let (start, end) = question
                    .answers
                    .first()
                    .map_or((0, 0), |answer| span::positions(&window, answer));
                let Window { ids, types, .. } = window;
                let target = TrainingTarget::Span(start, end);
                let teacher = logits.as_mut().and_then(Iterator::next);
                TrainingExample { ids, types, target, teacher }
            };
            Ok(windows.into_iter().map(example).collect())
        }
    }
}

fn windows<'a>(
    split: &Split,
    questions: &'a [Question],
    tokenizer: &Tokenizer,
    settings: &EvaluateSettings,
) -> Result<Vec<(Window, &'a Question)>, TaskError> {
    let mut all = Vec::new();
    for question in questions {
        let place = || Place::question(&split.path, &question.id);
        let windows = span::windows(question, tokenizer, &settings.span(), place)?;
        all.extend(windows.into_iter().map(|window| (window, question)));
    }
    Ok(all)
}

/// A teacher's logits of each example, of the task's labels in their order.
fn of_teacher(asked: &Asked<'_>, rows: &[Example]) -> Result<Vec<Vec<f32>>, TaskError> {
    let logits = asked.logits(rows)?;
    let Some(Target::Label(_)) = rows.first().map(|row| row.target) else {
        return asked.of_width(logits, 1);
    };
    let logits = asked.of_width(logits, asked.split.labels.len())?;
    let order = classification::order_of(asked)?;
    let in_order = |row: Vec<f32>| {
        let mut ordered = vec![0.0; row.len()];
        for (output, label) in order.iter().enumerate() {
            ordered[*label] = row[output];
        }
        ordered
    };
    Ok(logits.into_iter().map(in_order).collect())
}

/// A teacher's logits of the begin and then of the end of every token of each window.
fn spans_of_teacher(
    asked: &Asked<'_>,
    windows: &[(Window, &Question)],
) -> Result<Vec<Vec<f32>>, TaskError> {
    let tokens: Vec<Tokens> = windows.iter().map(|(window, _)| span::tokens(window)).collect();
    let (model, longest) = (asked.model, tokens.iter().map(|t| t.ids.len()).max().unwrap_or(0));
    let question = windows.first().map(|(_, question)| question.text.as_str()).unwrap_or_default();
    let own = model.tokenizer().vocabulary_size();
    if model.longest(longest) < longest || !asked_alike(model, question, &tokens)? {
        return Err(TaskError::OtherTokens { model: model.name().to_owned(), entries: own });
    }
    let mut logits = model.run(&tokens, Wanted::Span, &asked.task.name, |row| {
        Some([row.values(Meaning::SpanStart)?, row.values(Meaning::SpanEnd)?].map(<[f32]>::to_vec))
    })?;
    let joined = logits.drain(..).zip(&tokens).map(|([begins, ends], tokens)| {
        let length = tokens.ids.len();
        [&begins[..length], &ends[..length]].concat()
    });
    Ok(joined.collect())
}

/// Whether a model makes the same tokens of a question as the windows have.
fn asked_alike(model: &Model, question: &str, windows: &[Tokens]) -> Result<bool, TaskError> {
    let own = model.tokenizer().tokens(question)?;
    let Some(window) = windows.first() else { return Ok(true) };
    let same = window.ids[1..].iter().zip(&own).all(|(id, token)| *id == token.id);
    Ok(same && window.ids[0] == model.tokenizer().specials().start)
}

impl Split {
    /// Two parts, drawn by a seed: at most `most` examples to train on, and about `held_out`,
    /// but not more than a fifth, to choose a model by. Examples of the same texts, and
    /// questions on the same text, go to the same part.
    ///
    /// # Errors
    /// [`TaskError::TooFew`] if there are not enough for two parts.
    pub fn divided(
        &self,
        held_out: usize,
        most: Option<usize>,
        seed: u64,
    ) -> Result<(Self, Self), TaskError> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (example, key) in self.group_keys().into_iter().enumerate() {
            let number = *numbers.entry(key).or_insert(groups.len());
            if number == groups.len() {
                groups.push(Vec::new());
            }
            groups[number].push(example);
        }
        groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let held_out = held_out.min(self.len() / 5).max(1);
        let mut parts = [Vec::new(), Vec::new()];
        let most = most.unwrap_or(usize::MAX);
        for group in groups {
            let [train, chosen] = &mut parts;
            let part = if chosen.len() < held_out { chosen } else { train };
            part.extend(group);
        }
        let [mut train, chosen] = parts;
        if train.is_empty() {
            return Err(TaskError::TooFew { path: self.path.clone(), count: self.len() });
        }
        train.truncate(most);
        Ok((self.part("train", train), self.part("held-out", chosen)))
    }

    /// What the examples of one group have in common.
    fn group_keys(&self) -> Vec<String> {
        match &self.examples {
            Examples::Rows(_) => self.keys().into_iter().map(|(key, _)| key).collect(),
            Examples::Questions(questions) => {
                questions.iter().map(|question| question.context.to_string()).collect()
            }
        }
    }

    /// Some of the examples, in the order of the file.
    fn part(&self, name: &str, mut rows: Vec<usize>) -> Self {
        rows.sort_unstable();
        let examples = match &self.examples {
            Examples::Rows(all) => {
                Examples::Rows(rows.iter().map(|row| all[*row].clone()).collect())
            }
            Examples::Questions(all) => {
                Examples::Questions(rows.iter().map(|row| all[*row].clone()).collect())
            }
        };
        Self { name: name.to_owned(), examples, left_out: 0, ..self.clone() }
    }
}
