//! Architecture search under a latency budget.

mod fitness;

pub use fitness::{EvaluationError, Fitness};
