//! What a training takes.

use atb_text::Encoded;

use super::{Objective, TrainSettings};
use crate::{Dataset, SuperPlm};

/// Everything that a training takes.
#[derive(Debug)]
pub struct Training {
    /// The model that it starts from.
    pub start: SuperPlm,
    /// What it minimises.
    pub objective: Objective,
    /// The text that it is trained on.
    pub data: Dataset,
    /// The text that it is validated on.
    pub held_out: Encoded,
    /// Everything else.
    pub settings: TrainSettings,
}
