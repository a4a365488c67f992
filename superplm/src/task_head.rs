//! What a model for a task ends in.

use atb_interface::{Head, Width};

/// The head of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskHead {
    /// The task's name.
    pub task: String,
    /// The head, one that has a class of its own at Hugging Face.
    pub head: &'static Head,
    /// The names of the labels that it tells apart; of a number one, of spans none.
    pub labels: Vec<String>,
}

impl TaskHead {
    /// How many outputs its linear layer has.
    pub(crate) fn outputs(&self) -> usize {
        match self.head.dense.map(|dense| dense.width) {
            Some(Width::Exactly(width)) => width,
            _ => self.labels.len().max(1),
        }
    }
}
