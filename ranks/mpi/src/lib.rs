//! The ranks of a job that an MPI launcher (`mpirun`, `srun`) started.
//!
//! Without the feature `mpi` this crate needs no MPI; it then knows the launcher only to refuse it.

#[cfg(all(feature = "mpi", unix))]
mod farewell;
#[cfg(all(feature = "mpi", unix))]
mod world;

use atb_ranks::Ranks;

/// Why the ranks of a job could not be had.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MpiError {
    #[error("this program was built without MPI, but `{variable}` says that it is one of several")]
    #[diagnostic(help(
        "build it by `cargo build --release --features mpi` (on Debian: `apt install \
         libopenmpi-dev openmpi-bin libclang-dev`), or start it without `mpirun`"
    ))]
    BuiltWithout { variable: &'static str },
    #[error("MPI offers less than one thread at a time ({found})")]
    #[diagnostic(help("use an MPI that was built with support for threads"))]
    Threads { found: String },
}

/// What launchers give to each process: the number of them, or of this one.
const SIGNS: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK"];

/// The ranks of this process's job: those that the launcher started, or this process alone where
/// there is no launcher. To be called once, before there are other threads; MPI ends when the last
/// clone is dropped.
///
/// # Errors
/// [`MpiError::BuiltWithout`] if there are others and this program cannot talk to them,
/// [`MpiError::Threads`] if MPI may be called from the first thread only.
pub fn world() -> Result<Ranks, MpiError> {
    let is_set = |name: &&str| std::env::var_os(name).is_some();
    match SIGNS.into_iter().find(is_set) {
        Some(variable) => launched(variable),
        None => Ok(Ranks::alone()),
    }
}

#[cfg(all(feature = "mpi", unix))]
fn launched(_variable: &'static str) -> Result<Ranks, MpiError> {
    Ok(Ranks::over(world::World::begin()?))
}

#[cfg(not(all(feature = "mpi", unix)))]
fn launched(variable: &'static str) -> Result<Ranks, MpiError> {
    match std::env::var(variable).is_ok_and(|size| size == "1") && variable.ends_with("SIZE") {
        true => Ok(Ranks::alone()),
        false => Err(MpiError::BuiltWithout { variable }),
    }
}
