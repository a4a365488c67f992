//! Files and folders that appear whole or not at all.

use std::io::{self, Write};
use std::path::Path;

use crate::leftovers;

/// Writes `bytes` to the file `path` through a temporary file in the same folder. The file
/// gets the permissions that any new file gets.
///
/// # Errors
/// If it cannot be written; the file is then as it was before.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o666).map_err(|source| cannot("write", path, &source))
}

/// [`write()`] for a program: the file can be run.
///
/// # Errors
/// As [`write()`].
pub fn write_program(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o777).map_err(|source| cannot("write", path, &source))
}

/// The error with what was to be done to which file in its text, as fs-err words it.
pub(crate) fn cannot(what: &str, path: &Path, source: &io::Error) -> io::Error {
    io::Error::new(source.kind(), format!("failed to {what} `{}`: {source}", path.display()))
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    leftovers::remove(folder);
    let prefix = leftovers::file_prefix();
    let mut file = readable(tempfile::Builder::new().prefix(&prefix), mode).tempfile_in(folder)?;
    leftovers::hold(file.as_file());
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    tracing::info!(path = %path.display(), bytes = bytes.len(), "wrote a file");
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

/// A folder under construction beside its final place; removed unless it is published.
#[derive(Debug)]
pub struct Staging {
    folder: tempfile::TempDir,
    /// Held as long as this process makes the folder; see [`leftovers`].
    _lock: Option<std::fs::File>,
}

impl Staging {
    /// Begins a folder that will become `target`, whose parent folders are created.
    ///
    /// # Errors
    /// If the parent folder cannot be written to.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let parent = folder_of(target);
        fs_err::create_dir_all(parent)?;
        leftovers::remove(parent);
        let prefix = leftovers::folder_prefix();
        let folder = readable(tempfile::Builder::new().prefix(&prefix), 0o777)
            .tempdir_in(parent)
            .map_err(|source| cannot("create a folder beside", target, &source))?;
        let lock = leftovers::hold_folder(folder.path());
        Ok(Self { folder, _lock: lock })
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
        fs_err::rename(self.folder.path(), target)?;
        // It has its final name: there is nothing left to clean up.
        let _ = self.folder.keep();
        tracing::info!(path = %target.display(), "wrote a folder");
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

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

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

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing/file");
        let error = write(&path, b"1").expect_err("no folder").to_string();
        assert!(error.starts_with(&format!("failed to write `{}`: ", path.display())), "{error}");
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
