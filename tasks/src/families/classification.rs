//! A label for one or two texts.

use super::Asked;
use crate::TaskError;
use crate::metrics::Outcomes;
use crate::model::order;
use crate::read::{Example, Target};

pub(crate) fn outcomes(asked: &Asked<'_>, examples: &[Example]) -> Result<Outcomes, TaskError> {
    let labels = &asked.split.labels;
    let logits = asked.of_width(asked.logits(examples)?, labels.len())?;
    let order = order_of(asked)?;
    let best = |row: &Vec<f32>| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(output, _)| order[output])
    };
    let actual = |example: &Example| match example.target {
        Target::Label(label) => label,
        Target::Score(_) | Target::Pair => 0,
    };
    Ok(Outcomes::Labels {
        predicted: logits.iter().map(best).collect(),
        actual: examples.iter().map(actual).collect(),
        labels: labels.len(),
    })
}

/// For each output of the model the number of the task's label.
pub(crate) fn order_of(asked: &Asked<'_>) -> Result<Vec<usize>, TaskError> {
    order(asked.model.labels(), &asked.split.labels).ok_or_else(|| TaskError::OtherTask {
        model: asked.model.name().to_owned(),
        trained: format!("the labels {}", asked.model.labels().join(", ")),
        task: asked.task.name.clone(),
    })
}
