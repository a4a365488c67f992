//! What killed writers leave behind, and who may remove it.
//!
//! A writer holds a lock on its temporary file or folder, whose name says which process it is.
//! The system gives the lock up when the process ends, however it ends. So a temporary name whose
//! lock is free belongs to nobody if its process is gone, or if it is older than the moment
//! between its creation and its locking.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// How the names of temporary files begin.
const FILE_PREFIX: &str = ".writing-";
/// How the names of temporary folders begin.
const FOLDER_PREFIX: &str = ".making-";
/// Characters of the random part that tempfile ends a name with.
const RANDOM: usize = 6;

/// Longer than any writer takes from the creation of a temporary name to its lock.
const GRACE: Duration = Duration::from_secs(60);

/// How the names of this process's temporary files begin.
pub(crate) fn file_prefix() -> String {
    format!("{FILE_PREFIX}{}-", std::process::id())
}

/// How the names of this process's temporary folders begin.
pub(crate) fn folder_prefix() -> String {
    format!("{FOLDER_PREFIX}{}-", std::process::id())
}

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
        let prefix = if metadata.is_dir() { FOLDER_PREFIX } else { FILE_PREFIX };
        let Some(writer) = writer(name, prefix) else { continue };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if age.is_none_or(|age| age < grace) && !writer.is_gone() {
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

/// Who made a temporary name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Process(u32),
    /// An earlier version, whose names do not say it.
    Unknown,
}

impl Writer {
    /// Whether it is certain that it writes no more.
    fn is_gone(self) -> bool {
        match self {
            Self::Process(id) => is_gone(id),
            Self::Unknown => false,
        }
    }
}

/// Whether it is certain that there is no process `id` on this machine.
#[cfg(unix)]
pub(crate) fn is_gone(id: u32) -> bool {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    let id = i32::try_from(id).ok().filter(|id| *id > 0);
    id.is_some_and(|id| kill(Pid::from_raw(id), None) == Err(Errno::ESRCH))
}

#[cfg(not(unix))]
pub(crate) fn is_gone(_: u32) -> bool {
    false
}

/// Who made `name`, if it is `prefix`, perhaps a process and a hyphen, and the random rest that
/// tempfile gives it.
fn writer(name: &str, prefix: &str) -> Option<Writer> {
    let rest = name.strip_prefix(prefix)?;
    let (process, random) = match rest.split_once('-') {
        Some((process, random)) => (Writer::Process(process.parse().ok()?), random),
        None => (Writer::Unknown, rest),
    };
    let is_random =
        random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_random.then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Staging;

    #[test]
    fn names_say_who_made_them() {
        let of_file = |name| writer(name, FILE_PREFIX);
        assert_eq!(of_file(".writing-abC123"), Some(Writer::Unknown));
        assert_eq!(of_file(".writing-42-abC123"), Some(Writer::Process(42)));
        for other in [".writing-notes.txt", ".writing-x-abC123", ".writing-1-2-abC123", "abC123"] {
            assert_eq!(of_file(other), None, "{other}");
        }
        assert!(!Writer::Process(std::process::id()).is_gone());
        assert!(!Writer::Process(0).is_gone() && !Writer::Process(u32::MAX).is_gone());
    }

    #[cfg(unix)]
    #[test]
    fn what_a_process_left_that_is_gone_is_removed_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        let id = child.id();
        child.wait().expect("ends");
        let left = folder.path().join(format!(".making-{id}-abC123"));
        std::fs::create_dir(&left).expect("creates");
        let own = folder.path().join(format!("{}abC123", file_prefix()));
        std::fs::write(&own, "").expect("writes");
        remove(folder.path());
        assert!(!left.exists() && own.exists());
    }

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
