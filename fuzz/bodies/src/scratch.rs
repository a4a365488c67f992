//! Folders for the files that bodies read.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::SEPARATOR;

/// A folder of this thread, emptied.
///
/// # Panics
/// If there can be none; nothing of an input's fault.
#[expect(clippy::expect_used, reason = "without a folder nothing can be tried")]
pub(crate) fn with_folder(body: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    FOLDER.with(|folder| {
        let folder = folder.path();
        for entry in fs_err::read_dir(folder).expect("lists").flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => fs_err::remove_dir_all(path).expect("removes"),
                false => fs_err::remove_file(path).expect("removes"),
            }
        }
        body(folder);
    });
}

/// Writes a file into a folder of [`with_folder`].
#[expect(clippy::expect_used, reason = "without a file nothing can be tried")]
pub(crate) fn put(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs_err::write(&path, content).expect("writes");
    path
}

/// The parts of an input, of which the last takes what is left.
pub(crate) fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == SEPARATOR);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The result without its error, whose texts are made as when they are printed.
pub(crate) fn told<T, E: miette::Diagnostic + 'static>(result: Result<T, E>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(error) = cause {
        assert!(!error.to_string().is_empty(), "an error says something");
        cause = error.source();
    }
    let _ = error.help().map(|help| help.to_string());
    None
}
