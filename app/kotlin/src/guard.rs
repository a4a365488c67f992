//! What every function of this library begins with.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::environment::Environment;
use crate::failure::{Failure, Kind};

/// Does `work`, catches what panics in it, and throws its failure; `otherwise` is returned then,
/// which nobody looks at.
pub(crate) fn guarded<T>(
    environment: Environment,
    otherwise: T,
    work: impl FnOnce() -> Result<T, Failure>,
) -> T {
    // What a panic leaves half done is not looked at again: results are made last.
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure::new(Kind::Bug, "this is a bug of autotinybert, please report it"))
    });
    match done {
        Ok(value) => value,
        Err(Failure::Thrown) => otherwise,
        Err(Failure::Told { kind, message, help }) => {
            environment.throw(kind as i32, &message, help.as_deref());
            otherwise
        }
    }
}
