//! The reference implementation of the format, the Python package `onnx`, as a judge.

use std::path::{Path, PathBuf};
use std::process::Command;

use atb_files::Staging;

/// What pip installs; the folder is named after the first.
const PACKAGES: [&str; 5] = [
    "onnx==1.23.2",
    "numpy==2.4.6",
    "protobuf==7.36.2",
    "ml_dtypes==0.6.0",
    "typing_extensions==4.16.0",
];

/// Runs Python with the packages; gives what it prints, or what it says was wrong.
pub(crate) fn check(files: &[&Path]) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/check_onnx.py");
    run(Command::new("python3").env("PYTHONPATH", packages()).arg(script).args(files))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("python3 is needed for this test");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The folder with the packages, in the cache; installed by the first process that needs it.
fn packages() -> PathBuf {
    let cache = atb_files::cache_folder().expect("a cache folder");
    let folder = cache.join(PACKAGES[0].replace("==", "-"));
    let lock = std::fs::File::create(cache.join("onnx.lock")).expect("creates");
    lock.lock().expect("locks");
    if !folder.exists() {
        let staging = Staging::beside(&folder).expect("a folder");
        let pip = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--target"];
        run(Command::new("python3").args(pip).arg(staging.path()).args(PACKAGES))
            .expect("pip is needed for this test");
        staging.publish(&folder).expect("publishes");
    }
    folder
}

#[test]
fn the_checker_refuses_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    // A model of IR version 8 that names no operator set.
    std::fs::write(&path, [0x08, 0x08]).expect("writes");
    let error = check(&[&path]).expect_err("no operator set");
    assert!(error.contains("opset_import"), "{error}");
}
