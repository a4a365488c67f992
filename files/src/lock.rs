//! One writer at a time.
//!
//! A writer holds a lock of the system on a small file beside what it writes. The system gives
//! the lock up when the process ends, however it ends: there are no stale locks, and a lock file
//! that a killed process left behind is in nobody's way.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::leftovers::is_gone;
use crate::whole::cannot;
use crate::{FileError, folder_of};

/// The lock file in a folder.
const IN_FOLDER: &str = ".lock";
/// Longer than any process id that a lock file holds.
const HOLDER_LENGTH: u64 = 20;

/// How long the lock of a process that is gone is waited for. What it was about to start, when it
/// was killed, has its open files until it has become the other program.
const GRACE: Duration = Duration::from_secs(5);

/// The right to write to a file or folder, until it is dropped.
///
/// Where the file system has no locks every process gets the right.
#[derive(Debug)]
pub struct Lock {
    /// The lock file, open as long as the lock is held.
    held: Option<(File, PathBuf)>,
}

impl Lock {
    /// Locks the file or folder `path`, which need not be there; the folder that holds it must.
    /// The lock file lies beside it.
    ///
    /// # Errors
    /// [`FileError::Held`] if another process holds the lock.
    pub fn of_file(path: &Path) -> Result<Self, FileError> {
        Self::take(path, lock_file_of(path))
    }

    /// Removes the lock file of the file `path` if a killed process has left it behind: for whoever
    /// finds that nothing is left to write.
    pub fn remove_leftover(path: &Path) {
        if lock_file_of(path).exists() {
            // Somebody's lock stays; a file that cannot be removed is in nobody's way.
            drop(Self::of_file(path));
        }
    }

    /// Locks all of the folder `path`, which must be there. The lock file lies in it.
    ///
    /// # Errors
    /// As [`Lock::of_file`].
    pub fn of_folder(path: &Path) -> Result<Self, FileError> {
        Self::take(path, path.join(IN_FOLDER))
    }

    fn take(path: &Path, lock_file: PathBuf) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let begin = Instant::now();
        loop {
            let opened = options.open(&lock_file);
            let mut file = opened.map_err(|source| cannot("write", path, &source))?;
            match file.try_lock() {
                // The former holder removed the file after it was opened here.
                Ok(()) if !is_at(&file, &lock_file) => continue,
                Ok(()) => {
                    // What is said of the holder is for people; the lock does not rest on it.
                    let _ =
                        file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
                    return Ok(Self { held: Some((file, lock_file)) });
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(&mut file);
                    if holder.is_some_and(is_gone) && begin.elapsed() < GRACE {
                        thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                    return Err(FileError::Held { path: path.to_owned(), holder });
                }
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(path = %path.display(), %error, "there are no locks here");
                    let _ = std::fs::remove_file(&lock_file);
                    return Ok(Self { held: None });
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((_, lock_file)) = &self.held {
            // While the lock is held, so that it is nobody else's.
            let _ = std::fs::remove_file(lock_file);
        }
    }
}

/// The lock file of a file or folder: one, however it is reached.
fn lock_file_of(path: &Path) -> PathBuf {
    let found = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = OsString::from(".");
    name.push(found.file_name().unwrap_or_default());
    name.push(".lock");
    folder_of(&found).join(name)
}

/// The process that the lock file says is its holder.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(HOLDER_LENGTH).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether `file` is the one that lies at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(file), Ok(there)) => identity(file) == identity(there),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_a_killed_process_was_about_to_start_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers.jsonl");
        let mut gone = std::process::Command::new("true").spawn().expect("starts");
        gone.wait().expect("ends");
        let lock_file = lock_file_of(&path);
        let file = File::create(&lock_file).expect("creates");
        writeln!(&file, "{}", gone.id()).expect("writes");
        file.lock().expect("free");
        let releasing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(file);
        });
        Lock::of_file(&path).expect("free in the end");
        releasing.join().expect("released");
    }

    #[test]
    fn there_is_one_holder_and_the_others_are_told_which() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("numbers.jsonl");
        let first = Lock::of_file(&file).expect("free");
        let error = Lock::of_file(&file).expect_err("held");
        let holder = std::process::id();
        assert_eq!(
            error.to_string(),
            format!("another atb (process {holder}) is writing to {}", file.display())
        );
        // Another file, and the folder as a whole, are other things.
        drop(Lock::of_file(&folder.path().join("letters.jsonl")).expect("free"));
        let whole = Lock::of_folder(folder.path()).expect("free");
        assert!(matches!(Lock::of_folder(folder.path()), Err(FileError::Held { .. })));
        drop(first);
        drop(Lock::of_file(&file).expect("free again"));
        drop(whole);
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 0);
    }

    #[test]
    fn what_a_killed_holder_left_is_no_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(IN_FOLDER), "4194304999\n").expect("writes");
        drop(Lock::of_folder(folder.path()).expect("nobody holds it"));
        assert!(!folder.path().join(IN_FOLDER).exists());
    }

    #[test]
    fn a_leftover_is_removed_and_a_lock_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, left) = (folder.path().join("m.jsonl"), folder.path().join(".m.jsonl.lock"));
        Lock::remove_leftover(&file);
        std::fs::write(&left, "4194304999\n").expect("writes");
        Lock::remove_leftover(&file);
        assert!(!left.exists());
        let lock = Lock::of_file(&file).expect("free");
        Lock::remove_leftover(&file);
        assert!(left.exists());
        drop(lock);
    }

    #[test]
    fn many_that_want_it_hold_it_one_after_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(lock) = Lock::of_folder(folder.path()) {
                            assert_eq!(inside.fetch_add(1, order), 0);
                            inside.fetch_sub(1, order);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_one_lock_by_whatever_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (folder.path().join("m.jsonl"), folder.path().join("link.jsonl"));
        std::fs::write(&file, "").expect("writes");
        std::os::unix::fs::symlink(&file, &other).expect("links");
        let _lock = Lock::of_file(&file).expect("free");
        assert!(matches!(Lock::of_file(&other), Err(FileError::Held { .. })));
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing/m.jsonl");
        let error = Lock::of_file(&path).expect_err("no folder").to_string();
        assert!(error.starts_with(&format!("failed to write `{}`: ", path.display())), "{error}");
    }
}
