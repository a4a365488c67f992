//! The steps of the main job, each a function over files.

mod bench;
mod finalists;
mod fit;
mod profile;
mod search;
mod verify;

pub use bench::{Timed, bench, bundle_workload};
pub use finalists::{Finalist, measure_finalists};
pub use fit::{evaluate, fit, read_measurements};
pub use profile::{profile_space, refine_space};
pub use search::{LossOnText, band_ms, budget, search_space};
pub use verify::verify_bundle;
