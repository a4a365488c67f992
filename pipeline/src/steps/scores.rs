//! The range of a model's scores.

use std::path::Path;

use atb_checkpoint::BertConfig;
use atb_tasks::Task;

/// The least and the largest score of the built-in task that the model folder `model` was
/// fine-tuned on, where that gives numbers.
#[must_use]
pub fn score_range(model: &Path) -> Option<[f32; 2]> {
    let task = BertConfig::read(model).ok()?.task?;
    let [least, largest] = Task::find(&task).ok()?.range?;
    Some([least as f32, largest as f32])
}
