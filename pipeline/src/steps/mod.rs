//! The steps of the main job, each a function over files.

mod bench;
mod finalists;
mod fit;
mod profile;
mod search;
mod standing;
mod verify;

pub use bench::{OtherEngines, Runs, Timed, bench, bundle_workload, onnx_runtime_for};
pub use finalists::{Finalist, measure_finalists};
pub use fit::{evaluate, fit, read_measurements};
pub use profile::{ProfiledDevice, profile_devices, profile_space, refine_space};
pub use search::{held_out, loss_on_text, search_space};
pub use standing::{LossDifference, Rival, StaticTable, rivals};
pub use verify::verify_bundle;
