//! Bytes that are shared, wherever they lie.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::MmapOptions;

use crate::BundleError;

/// Read-only bytes, in memory or mapped from a file. A clone shares them.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// Bytes that `owner` holds.
    #[must_use]
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..owner.as_ref().len();
        Self { owner: Arc::new(owner), range }
    }

    /// Maps `length` bytes of a file from `offset` on; without a length, all that follow.
    ///
    /// As with every mapping, the file must not be cut or written to while the bytes are in use:
    /// they would change, or reading them end the program.
    ///
    /// # Errors
    /// [`BundleError::Range`] if the file ends before, [`BundleError::Io`] if it is no file that
    /// can be mapped.
    pub fn map(
        name: &str,
        file: &File,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Self, BundleError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let problem = "it is not a regular file".to_owned();
            return Err(BundleError::Archive { name: name.to_owned(), problem });
        }
        let end = metadata.len();
        let rest = end.checked_sub(offset);
        let length = match (length, rest) {
            (None, Some(rest)) => rest,
            (Some(length), Some(rest)) if length <= rest => length,
            (length, _) => {
                let length = length.unwrap_or(0);
                return Err(BundleError::Range { name: name.to_owned(), offset, length, end });
            }
        };
        if length == 0 {
            return Ok(Self::new([]));
        }
        let too_large = |_| BundleError::Range { name: name.to_owned(), offset, length, end };
        let length = usize::try_from(length).map_err(too_large)?;
        // SAFETY: the range lies in the file; that nobody cuts or changes it is asked of the
        // caller above.
        let map = unsafe { MmapOptions::new().offset(offset).len(length).map(file)? };
        Ok(Self::new(map))
    }

    /// Maps the whole file `path`.
    ///
    /// # Errors
    /// As [`Bytes::map`].
    pub fn map_file(path: &Path) -> Result<Self, BundleError> {
        // A pipe is not opened: it would have the program wait for whoever writes to it.
        if !fs_err::metadata(path)?.is_file() {
            let problem = "it is not a regular file".to_owned();
            return Err(BundleError::Archive { name: path.display().to_string(), problem });
        }
        Self::map(&path.display().to_string(), fs_err::File::open(path)?.file(), 0, None)
    }

    /// A part of these bytes; `None` if it does not lie in them.
    #[must_use]
    pub fn slice(&self, part: Range<usize>) -> Option<Self> {
        if part.start > part.end || part.end > self.range.len() {
            return None;
        }
        let range = self.range.start + part.start..self.range.start + part.end;
        Some(Self { owner: Arc::clone(&self.owner), range })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.owner).as_ref().get(self.range.clone()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
