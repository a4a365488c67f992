//! What killed writers leave behind, and who may remove it.
//!
//! A writer holds a lock on its temporary file or folder. The system gives the lock up when
//! the process ends, however it ends, so a temporary name whose lock is free, and which is
//! older than the moment between its creation and its locking, belongs to nobody.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// How the names of temporary files begin.
pub(crate) const FILE_PREFIX: &str = ".writing-";
/// How the names of temporary folders begin.
pub(crate) const FOLDER_PREFIX: &str = ".making-";

/// Longer than any writer takes from the creation of a temporary name to its lock.
const GRACE: Duration = Duration::from_secs(60);

/// Shows others that the temporary file is in use. Where the file system has no locks the
/// file is only protected by its age.
pub(crate) fn hold(file: &File) {
    let _ = file.try_lock_shared();
}

/// As [`hold`] for a temporary folder, for as long as the returned file lives.
pub(crate) fn hold_folder(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    hold(&file);
    Some(file)
}

/// Removes the leftovers of dead writers in `folder`. A leftover that cannot be removed is in
/// nobody's way.
pub(crate) fn remove(folder: &Path) {
    remove_older(folder, GRACE);
}

fn remove_older(folder: &Path, grace: Duration) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        let ours = (is_temporary(name, FILE_PREFIX) && metadata.is_file())
            || (is_temporary(name, FOLDER_PREFIX) && metadata.is_dir());
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if !ours || age.is_none_or(|age| age < grace) {
            continue;
        }
        let path = entry.path();
        let free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
        let _ = match (free, metadata.is_dir()) {
            (false, _) => continue,
            (true, true) => std::fs::remove_dir_all(&path),
            (true, false) => std::fs::remove_file(&path),
        };
    }
}

/// Whether `name` is `prefix` and the random rest that tempfile gives it.
fn is_temporary(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Staging;

    #[test]
    fn leftovers_of_dead_writers_go_and_living_writers_keep_theirs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let living = Staging::beside(&path("model")).expect("begins");
        std::fs::write(path(".writing-abC123"), "torn").expect("writes");
        std::fs::create_dir_all(path(".making-abC123/deep")).expect("creates");
        let writing = File::create(path(".writing-held00")).expect("creates");
        hold(&writing);
        std::fs::write(path(".writing-notes.txt"), "somebody's").expect("writes");
        remove_older(folder.path(), Duration::from_secs(3600));
        assert!(path(".writing-abC123").exists(), "too young to be judged");
        remove_older(folder.path(), Duration::ZERO);
        assert!(!path(".writing-abC123").exists());
        assert!(!path(".making-abC123").exists());
        assert!(path(".writing-held00").exists());
        assert!(path(".writing-notes.txt").exists());
        assert!(living.path().exists());
        drop(writing);
        remove_older(folder.path(), Duration::ZERO);
        assert!(!path(".writing-held00").exists());
    }
}
