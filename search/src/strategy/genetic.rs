//! A genetic algorithm: the paper's evolution with crossover, in more and smaller generations.

use super::evolutionary::evolve;
use super::{Defaults, Strategy};

impl Strategy {
    /// As many evaluations as [`Strategy::EVOLUTIONARY`] makes, in more and smaller
    /// generations, with crossover and fewer fresh candidates: finds good architectures more
    /// often.
    pub const GENETIC: Self = Self {
        name: "genetic",
        about: "Evolution with crossover in more and smaller generations: finds good ones more often",
        settings: &["population", "generations", "seeded", "fresh", "crossover", "mutation"],
        is_multi_objective: false,
        former_names: &["steady"],
        defaults: Defaults { population: 10, generations: 10, fresh: 0.2, crossover: 0.3 },
        narrow: None,
        search: evolve,
    };
}
