//! Digests as text.

use sha2::{Digest, Sha256};

/// What a hasher has seen, in hexadecimal.
pub(crate) fn finish(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
