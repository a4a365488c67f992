//! Metrics, equal to those of scikit-learn, scipy and SQuAD's own evaluation.

mod answers;
mod classification;
mod correlation;
mod retrieval;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::Kind;

pub use answers::{exact_match, normalised, word_f1};
pub(crate) use retrieval::rank;

/// What a model gave for the examples of a split, beside what is right.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcomes {
    /// Labels.
    Labels {
        /// What the model gave.
        predicted: Vec<usize>,
        /// What is right.
        actual: Vec<usize>,
        /// How many labels there are.
        labels: usize,
    },
    /// Numbers.
    Scores {
        /// What the model gave.
        predicted: Vec<f64>,
        /// What is right.
        actual: Vec<f64>,
    },
    /// Answers: whether each is right, and how far its words are.
    Answers {
        /// One for an answer that is right, else zero.
        exact: Vec<f64>,
        /// F1 of its words.
        f1: Vec<f64>,
    },
    /// The rank, from 1, at which each query's text was found.
    Ranks(Vec<usize>),
}

impl Outcomes {
    /// How many examples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Labels { predicted, .. } => predicted.len(),
            Self::Scores { predicted, .. } => predicted.len(),
            Self::Answers { exact, .. } => exact.len(),
            Self::Ranks(ranks) => ranks.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Metric {
    /// Share of the labels that are right.
    Accuracy,
    /// F1 of the second label of two; of answers, of their words.
    F1,
    /// Mean of the F1 of each label.
    MacroF1,
    /// Matthews' correlation coefficient.
    Matthews,
    /// Pearson's correlation coefficient.
    Pearson,
    /// Spearman's rank correlation coefficient, equal values at their mean rank.
    Spearman,
    /// Share of the answers that are right but for case, punctuation and articles.
    ExactMatch,
    /// Share of the queries whose text is among the first so many.
    Recall(usize),
    /// Mean reciprocal rank.
    ReciprocalRank,
}

const NAMED: [(&str, Metric); 8] = [
    ("accuracy", Metric::Accuracy),
    ("f1", Metric::F1),
    ("macro-f1", Metric::MacroF1),
    ("matthews", Metric::Matthews),
    ("pearson", Metric::Pearson),
    ("spearman", Metric::Spearman),
    ("exact-match", Metric::ExactMatch),
    ("mrr", Metric::ReciprocalRank),
];

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMED.iter().find(|(_, metric)| metric == self)) {
            (Self::Recall(most), _) => write!(f, "recall@{most}"),
            (_, named) => f.write_str(named.map_or("", |(name, _)| name)),
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, metric)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*metric);
        }
        match text.strip_prefix("recall@").map(str::parse) {
            Some(Ok(most @ 1..)) => Ok(Self::Recall(most)),
            _ => {
                let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                Err(format!("there is no metric `{text}`; there are {names} and recall@K"))
            }
        }
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

impl Metric {
    /// The metrics of a kind of task, where it names none itself.
    #[must_use]
    pub fn of_kind(kind: Kind) -> Vec<Self> {
        match kind {
            Kind::Classification => vec![Self::Accuracy, Self::MacroF1],
            Kind::Regression => vec![Self::Pearson, Self::Spearman],
            Kind::Similarity => vec![Self::Spearman, Self::Pearson],
            Kind::Span => vec![Self::ExactMatch, Self::F1],
            Kind::Retrieval => vec![Self::Recall(1), Self::Recall(5), Self::ReciprocalRank],
        }
    }

    /// Whether it is one of a kind of task.
    #[must_use]
    pub fn fits(&self, kind: Kind) -> bool {
        match self {
            Self::Accuracy | Self::MacroF1 | Self::Matthews => kind == Kind::Classification,
            Self::F1 => matches!(kind, Kind::Classification | Kind::Span),
            Self::ExactMatch => kind == Kind::Span,
            Self::Pearson | Self::Spearman => matches!(kind, Kind::Regression | Kind::Similarity),
            Self::Recall(_) | Self::ReciprocalRank => kind == Kind::Retrieval,
        }
    }

    /// Its value over the examples `rows`, any of which may be there several times.
    ///
    /// Zero for F1 and Matthews' coefficient that are not defined, as in scikit-learn; NaN for
    /// a correlation of a constant, as in scipy, and for a metric of other outcomes.
    #[must_use]
    pub fn of(&self, outcomes: &Outcomes, rows: &[usize]) -> f64 {
        let mean = |value: &dyn Fn(usize) -> f64| {
            rows.iter().map(|row| value(*row)).sum::<f64>() / rows.len() as f64
        };
        match (self, outcomes) {
            (Self::Accuracy, Outcomes::Labels { predicted, actual, .. }) => {
                mean(&|row| f64::from(u8::from(predicted[row] == actual[row])))
            }
            (
                Self::F1 | Self::MacroF1 | Self::Matthews,
                Outcomes::Labels { predicted, actual, labels },
            ) => {
                let pairs = rows.iter().map(|row| (predicted[*row], actual[*row]));
                let table = classification::Table::of(pairs, *labels);
                match self {
                    Self::F1 => table.f1(1),
                    Self::MacroF1 => table.macro_f1(),
                    _ => table.matthews(),
                }
            }
            (Self::Pearson | Self::Spearman, Outcomes::Scores { predicted, actual }) => {
                let of = |values: &[f64]| rows.iter().map(|row| values[*row]).collect::<Vec<_>>();
                match self {
                    Self::Pearson => correlation::pearson(&of(predicted), &of(actual)),
                    _ => correlation::spearman(&of(predicted), &of(actual)),
                }
            }
            (Self::ExactMatch, Outcomes::Answers { exact, .. }) => mean(&|row| exact[row]),
            (Self::F1, Outcomes::Answers { f1, .. }) => mean(&|row| f1[row]),
            (Self::Recall(most), Outcomes::Ranks(ranks)) => {
                mean(&|row| retrieval::recall(ranks[row], *most))
            }
            (Self::ReciprocalRank, Outcomes::Ranks(ranks)) => mean(&|row| 1.0 / ranks[row] as f64),
            _ => f64::NAN,
        }
    }

    /// Its value over all examples.
    #[must_use]
    pub fn of_all(&self, outcomes: &Outcomes) -> f64 {
        let rows: Vec<usize> = (0..outcomes.len()).collect();
        self.of(outcomes, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for metric in NAMED.iter().map(|(_, metric)| *metric).chain([Metric::Recall(10)]) {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        for text in ["recall@0", "recall@", "Accuracy", ""] {
            assert!(text.parse::<Metric>().is_err(), "{text}");
        }
        let kinds =
            [Kind::Classification, Kind::Regression, Kind::Span, Kind::Similarity, Kind::Retrieval];
        for kind in kinds {
            assert!(Metric::of_kind(kind).iter().all(|metric| metric.fits(kind)));
        }
    }

    #[test]
    fn means_are_over_the_rows_that_are_asked_for() {
        let labels =
            Outcomes::Labels { predicted: vec![0, 1, 1], actual: vec![0, 0, 1], labels: 2 };
        assert_eq!(Metric::Accuracy.of(&labels, &[0, 1, 1, 1]), 0.25);
        let answers = Outcomes::Answers { exact: vec![1.0, 0.0], f1: vec![1.0, 0.5] };
        assert_eq!(Metric::ExactMatch.of_all(&answers), 0.5);
        assert_eq!(Metric::F1.of_all(&answers), 0.75);
        let ranks = Outcomes::Ranks(vec![1, 2, 5, 20]);
        assert_eq!(Metric::Recall(1).of_all(&ranks), 0.25);
        assert_eq!(Metric::Recall(5).of_all(&ranks), 0.75);
        assert_eq!(Metric::ReciprocalRank.of_all(&ranks), 0.4375);
        assert!(Metric::Accuracy.of_all(&ranks).is_nan());
    }
}
