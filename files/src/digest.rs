//! SHA-256, in hexadecimal.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Instant;

use sha2::{Digest, Sha256};

/// SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, in hexadecimal; the file may be larger than the memory.
///
/// # Errors
/// If it cannot be read.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    let start = Instant::now();
    let mut reader = BufReader::new(fs_err::File::open(path)?);
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            length => hasher.update(&chunk[..length]),
        }
    }
    tracing::debug!(path = %path.display(), took = ?start.elapsed(), "digested a file");
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 over several parts, in hexadecimal; the parts cannot run into each other.
#[must_use]
pub fn digest_of_parts(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

/// Bytes in hexadecimal, as digests are written.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha256() {
        // The digest of nothing, from FIPS 180.
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), nothing);
        assert_eq!(digest_of_parts(&[]), nothing);
        assert_ne!(digest_of_parts(&["ab", ""]), digest_of_parts(&["a", "b"]));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("large");
        let bytes = vec![7u8; 200_000];
        crate::write(&path, &bytes).expect("writes");
        assert_eq!(digest_of_file(&path).expect("reads"), digest(&bytes));
    }
}
