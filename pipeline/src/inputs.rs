//! What each step of a run is made of, as a digest: the same digest means the same result.

use std::path::Path;

use atb_files::digest_of_file;
use atb_measurements::Protocol;
use atb_runtime::ENGINE;
use atb_search::Band;
use atb_space::{Architecture, Precision, Space, Workload};

use crate::state::inputs_digest;
use crate::{Config, PipelineError};

type Digest = Result<String, PipelineError>;

/// Of `profile`: the device and how it is measured.
pub(crate) fn profile(config: &Config, protocol: &Protocol) -> Digest {
    inputs_digest("profile", &(target(config)?, protocol, ENGINE))
}

/// Of `fit`: the measurements by their digest.
pub(crate) fn fit(measurements: &str, space: &Space) -> Digest {
    inputs_digest("fit", &(measurements, space))
}

/// Of `search`: the predictor's file, and the loss by its digest.
pub(crate) fn search(
    config: &Config,
    predictor: &Path,
    space: &Space,
    band: &Band,
    fitness: &str,
) -> Digest {
    let inputs = (digest_of_file(predictor)?, space, band, &config.search, fitness);
    inputs_digest("search", &inputs)
}

/// Of `measure`: the `best` first of the search's file.
pub(crate) fn measure(config: &Config, search: &Path, best: usize, protocol: &Protocol) -> Digest {
    inputs_digest("measure", &(digest_of_file(search)?, best, target(config)?, protocol, ENGINE))
}

/// Of `update`: the measurements and the finalists' by their digests.
pub(crate) fn update(measurements: &str, finalists: &str, space: &Space) -> Digest {
    inputs_digest("update", &(measurements, finalists, space))
}

/// Of `extract`: the weights by their source.
pub(crate) fn extract(arch: &Architecture, source: &str) -> Digest {
    inputs_digest("extract", &(arch, source))
}

/// Of `export`: the winner's weights.
pub(crate) fn export(weights: &Path, workload: Workload, precision: Precision) -> Digest {
    inputs_digest("export", &(digest_of_file(weights)?, workload, precision, ENGINE))
}

/// Of `verify`: the exported file and the winner's weights.
pub(crate) fn verify(model: &Path, weights: &Path) -> Digest {
    inputs_digest("verify", &(digest_of_file(model)?, digest_of_file(weights)?, ENGINE))
}

/// Of `bench`: the exported file.
pub(crate) fn bench(config: &Config, model: &Path, protocol: &Protocol) -> Digest {
    let baseline = &config.budget.baseline;
    inputs_digest("bench", &(digest_of_file(model)?, target(config)?, protocol, baseline, ENGINE))
}

/// Of `lengths`: the winner, at each of them.
pub(crate) fn lengths(config: &Config, winner: &Architecture, protocol: &Protocol) -> Digest {
    inputs_digest("lengths", &(winner, target(config)?, protocol, ENGINE))
}

/// What a step knows of the device that it measures on: the target's name, or the content of
/// its file.
fn target(config: &Config) -> Digest {
    let path = Path::new(&config.target);
    match path.is_file() {
        true => Ok(digest_of_file(path)?),
        false => Ok(config.target.clone()),
    }
}
