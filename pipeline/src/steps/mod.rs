//! The steps of the main job, each a function over files.

pub(crate) mod bench;
mod compare;
pub(crate) mod finalists;
mod fit;
mod lengths;
pub(crate) mod profile;
mod scores;
mod search;
mod standing;
mod variants;
mod verify;

pub use bench::{OtherEngines, Runs, Timed, bench, bundle_workload, onnx_runtime_for};
pub use compare::{Comparison, Side, compare_with_app};
pub use finalists::{Finalist, measure_finalists};
pub use fit::{evaluate, fit, read_measurements};
pub use lengths::{AtLength, at_lengths, measure_lengths};
pub(crate) use lengths::{file_of, shorter};
pub use profile::{ProfiledDevice, profile_devices, profile_space, refine_space};
pub use scores::score_range;
pub use search::{held_out, loss_on_text, search_space};
pub use standing::{LossDifference, Rival, StaticTable, rivals};
pub use variants::{Conditions, Scored, Variant, Variants, variants};
pub use verify::verify_bundle;
