//! Files and folders that appear whole or not at all, and their digests.
//!
//! A crash, a full disk or Ctrl-C in the middle of [`write()`] leaves the old file as it was;
//! a [`Staging`] folder is invisible until [`Staging::publish`] gives it its name.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("numbers.txt");
//! atb_files::write(&path, b"1 2 3\n")?;
//! assert_eq!(atb_files::digest_of_file(&path)?, atb_files::digest(b"1 2 3\n"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::env;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Writes `bytes` to the file `path` through a temporary file in the same folder. The file
/// gets the permissions that any new file gets.
///
/// # Errors
/// If it cannot be written; the file is then as it was before.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o666)
}

/// [`write()`] for a program: the file can be run.
///
/// # Errors
/// As [`write()`].
pub fn write_program(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o777)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = readable(tempfile::Builder::new().prefix(".writing-"), mode)
        .tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// The folder that holds `path`: `.` for a bare name.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Where files are kept that can be had again: `ATB_CACHE`, or `autotinybert` in the user's cache folder.
#[must_use]
pub fn cache_folder() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("ATB_CACHE").unwrap_or_else(|| {
        variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(env::temp_dir)
            .join("autotinybert")
    })
}

/// A folder under construction beside its final place; removed unless it is published.
#[derive(Debug)]
pub struct Staging {
    folder: tempfile::TempDir,
}

impl Staging {
    /// Begins a folder that will become `target`, whose parent folders are created.
    ///
    /// # Errors
    /// If the parent folder cannot be written to.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let parent = folder_of(target);
        fs::create_dir_all(parent)?;
        let folder =
            readable(tempfile::Builder::new().prefix(".making-"), 0o777).tempdir_in(parent)?;
        Ok(Self { folder })
    }

    /// Where to put its files until then.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its final name `target`, which must not be there or be empty.
    ///
    /// # Errors
    /// If the name is taken; the staged files are then removed.
    pub fn publish(self, target: &Path) -> io::Result<()> {
        fs::rename(self.folder.path(), target)?;
        // It has its final name: there is nothing left to clean up.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Temporary files are private by default; what they become is not.
#[cfg_attr(not(unix), expect(unused_variables, reason = "only Unix has such permissions"))]
fn readable<'a, 'b, 'c>(
    builder: &'c mut tempfile::Builder<'a, 'b>,
    mode: u32,
) -> &'c mut tempfile::Builder<'a, 'b> {
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    builder
}

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
    let mut reader = BufReader::new(fs::File::open(path)?);
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(hex(&hasher.finalize())),
            length => hasher.update(&chunk[..length]),
        }
    }
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
        write(&path, &bytes).expect("writes");
        assert_eq!(digest_of_file(&path).expect("reads"), digest(&bytes));
    }

    #[test]
    fn a_staged_folder_appears_when_published_and_leaves_nothing_otherwise() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("deep/model");
        let staging = Staging::beside(&target).expect("begins");
        fs::write(staging.path().join("a"), "1").expect("writes");
        drop(staging);
        assert_eq!(fs::read_dir(folder.path().join("deep")).expect("lists").count(), 0);
        let staging = Staging::beside(&target).expect("begins");
        fs::write(staging.path().join("a"), "1").expect("writes");
        staging.publish(&target).expect("publishes");
        assert_eq!(fs::read_to_string(target.join("a")).expect("reads"), "1");
        let staging = Staging::beside(&target).expect("begins");
        assert!(staging.publish(&target).is_err());
        assert_eq!(fs::read_dir(folder.path().join("deep")).expect("lists").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn written_files_are_as_readable_as_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write(&ours, b"1").expect("writes");
        fs::write(&plain, "1").expect("writes");
        assert_eq!(mode(&ours), mode(&plain));
        write_program(&ours, b"2").expect("writes");
        assert_eq!(mode(&ours) & 0o500, 0o500);
    }
}
