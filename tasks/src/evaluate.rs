//! What a model scores on a split, and by how much it differs from another.

use atb_runtime::SpanSettings;
use atb_settings::{Check, Checked};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::TaskError;
use crate::bootstrap::{Bootstrap, Interval};
use crate::families::{Asked, classification, regression, retrieval, similarity, span};
use crate::kind::Kind;
use crate::metrics::{Metric, Outcomes};
use crate::model::{Frequencies, Model};
use crate::read::{Examples, Split};
use crate::task::Task;

/// How models are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSettings {
    /// Most tokens of a text or pair; an exported file has a length of its own.
    pub sequence: usize,
    /// The same of a question with a part of its text.
    pub span_sequence: usize,
    /// Tokens by which the windows over a text move that is too long for a question.
    pub span_stride: usize,
    /// How often the examples are drawn again for the intervals.
    pub resamples: usize,
    /// Share of the resamples that lie within an interval.
    pub confidence: f64,
    /// Seed of what is drawn.
    pub seed: u64,
}

impl Default for EvaluateSettings {
    fn default() -> Self {
        let SpanSettings { sequence: span_sequence, stride: span_stride, .. } =
            SpanSettings::default();
        let Bootstrap { resamples, confidence, seed } = Bootstrap::default();
        Self { sequence: 128, span_sequence, span_stride, resamples, confidence, seed }
    }
}

impl Checked for EvaluateSettings {
    fn check(&self, at: &mut Check) {
        at.range("sequence", self.sequence, 4..=4096);
        at.range("span_sequence", self.span_sequence, 8..=4096);
        at.range("span_stride", self.span_stride, 1..=4096);
        at.range("resamples", self.resamples, 0..=1_000_000);
        at.that(
            "confidence",
            self.confidence,
            self.confidence > 0.0 && self.confidence < 1.0,
            "above 0 to below 1",
        );
    }
}

impl EvaluateSettings {
    fn bootstrap(&self) -> Bootstrap {
        let Self { resamples, confidence, seed, .. } = *self;
        Bootstrap { resamples, confidence, seed }
    }

    pub(crate) fn span(&self) -> SpanSettings {
        SpanSettings {
            sequence: self.span_sequence,
            stride: self.span_stride,
            ..SpanSettings::default()
        }
    }
}

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Score {
    /// The metric.
    #[schemars(with = "String")]
    pub metric: Metric,
    /// Its value; none where it is not defined, as the correlation of a constant.
    pub value: Option<f64>,
    /// Where it lies if the examples are drawn again.
    pub interval: Option<Interval>,
}

/// What a model scores on a split.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Evaluation {
    /// The task's name.
    pub task: String,
    /// The split's name.
    pub split: String,
    /// The model's name.
    pub model: String,
    /// How many examples there were.
    pub examples: usize,
    /// The value of each of the task's metrics, the deciding one first.
    pub scores: Vec<Score>,
    /// What the model gave for each example.
    #[serde(skip)]
    pub outcomes: Outcomes,
}

/// By how much a model's metric is above another's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// The metric.
    #[schemars(with = "String")]
    pub metric: Metric,
    /// The first model's value less the other's; none where either is not defined.
    pub value: Option<f64>,
    /// Where it lies if the examples, the same of both, are drawn again.
    pub interval: Option<Interval>,
}

/// Gives the examples of a split to a model. `frequencies` weigh the words of a static table
/// that asks for them.
///
/// # Errors
/// [`TaskError`]: the settings, a model without the task's outputs or of another task, or an
/// engine that fails.
pub fn evaluate(
    model: &Model,
    task: &Task,
    split: &Split,
    frequencies: Option<&Frequencies>,
    settings: &EvaluateSettings,
) -> Result<Evaluation, TaskError> {
    settings.checked()?;
    check_task(model, task)?;
    let asked = Asked { model, task, split, sequence: settings.sequence, frequencies };
    let outcomes = match &split.examples {
        Examples::Questions(questions) => span::outcomes(&asked, questions, &settings.span())?,
        Examples::Rows(rows) => match task.kind {
            Kind::Classification => classification::outcomes(&asked, rows)?,
            Kind::Regression => regression::outcomes(&asked, rows)?,
            Kind::Similarity => similarity::outcomes(&asked, rows)?,
            Kind::Retrieval | Kind::Span => retrieval::outcomes(&asked, rows)?,
        },
    };
    let bootstrap = settings.bootstrap();
    let score = |metric: &Metric| Score {
        metric: *metric,
        value: defined(metric.of_all(&outcomes)),
        interval: bootstrap.of(*metric, &outcomes),
    };
    Ok(Evaluation {
        task: task.name.clone(),
        split: split.name.clone(),
        model: model.name().to_owned(),
        examples: outcomes.len(),
        scores: task.metrics.iter().map(score).collect(),
        outcomes,
    })
}

/// Refuses a model that was fine-tuned on another task, unless embeddings are all that is asked
/// for.
pub(crate) fn check_task(model: &Model, task: &Task) -> Result<(), TaskError> {
    match model.other_task(&task.name) {
        Some(trained) if !task.kind.is_of_embeddings() => Err(TaskError::OtherTask {
            model: model.name().to_owned(),
            trained: trained.to_owned(),
            task: task.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// By how much `one` is above `other` in each metric, on the same examples.
///
/// # Errors
/// [`TaskError::OtherExamples`].
pub fn compare(
    one: &Evaluation,
    other: &Evaluation,
    settings: &EvaluateSettings,
) -> Result<Vec<Difference>, TaskError> {
    if (&one.task, &one.split, one.examples) != (&other.task, &other.split, other.examples) {
        let (one, other) = (one.model.clone(), other.model.clone());
        return Err(TaskError::OtherExamples { one, other });
    }
    let bootstrap = settings.bootstrap();
    let difference = |score: &Score| {
        let metric = score.metric;
        let value = metric.of_all(&one.outcomes) - metric.of_all(&other.outcomes);
        let interval = bootstrap.of_difference(metric, [&one.outcomes, &other.outcomes]);
        Difference { metric, value: defined(value), interval }
    };
    Ok(one.scores.iter().map(difference).collect())
}

fn defined(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
