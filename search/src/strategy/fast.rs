//! The paper's fast search: a random sample of the candidates that follow its rule of thumb.

use super::random::sample;
use super::{Defaults, Strategy};

impl Strategy {
    /// The paper's fast search: a sample of those that follow its rule, see
    /// [`Candidates::fast`](crate::Candidates::fast).
    pub const FAST: Self = Self {
        name: "fast",
        about: "The paper's fast search: a random sample by its rule of thumb",
        settings: &["population", "generations"],
        is_multi_objective: false,
        former_names: &[],
        defaults: Defaults::PAPER,
        narrow: Some(|candidates| candidates.fast()),
        search: sample,
    };
}
