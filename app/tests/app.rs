//! The library from an app's side: the Cargo project of `atb embed`, and the number in the app.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use atb_app::{Bundle, MeasureOptions, Model, measure};
use atb_embed::Language;
use atb_measurements::{MeasurementFile, Role, Subject};

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder of the libraries that this test was built with.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    test.parent().expect("a folder").to_owned()
}

/// The newest library of the crate `name`.
fn newest(name: &str) -> PathBuf {
    let prefix = format!("lib{name}-");
    let of_crate = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.starts_with(&prefix) && file.ends_with(".rlib")
    };
    let entries = std::fs::read_dir(libraries()).expect("a folder");
    let found = entries.flatten().map(|entry| entry.path()).filter(of_crate);
    let time = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    found.max_by_key(time).expect("a library")
}

#[test]
fn the_cargo_project_builds_and_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "classifier", 3);
    let project = folder.path().join("project");
    atb_embed::write(Language::Rust, &bundle, source(), &project).expect("writes");
    // What it depends on is there, and of a version that it can have.
    let manifest = std::fs::read_to_string(project.join("Cargo.toml")).expect("reads");
    assert!(manifest.contains("atb-app = { path = \"/"), "{manifest}");
    // Compiled against the libraries of this test: cargo would build all of them once more.
    let program = folder.path().join("demo");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "--deny", "warnings", "--crate-name", "bundle_demo"])
        .arg(project.join("src/main.rs"))
        .arg("--extern")
        .arg(format!("atb_app={}", newest("atb_app").display()))
        .arg("-L")
        .arg(format!("dependency={}", libraries().display()))
        .arg("-o")
        .arg(&program)
        .output()
        .expect("rustc");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let text = "The battery lasts two days.";
    let ran = Command::new(&program).arg(text).output().expect("runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let labels = Model::open(&bundle).expect("opens").classify(&[text]).expect("runs").remove(0);
    let expected: Vec<String> = std::iter::once(text.to_owned())
        .chain(labels.iter().map(|label| format!("  {} {:.4}", label.name, label.probability)))
        .collect();
    assert_eq!(String::from_utf8_lossy(&ran.stdout).lines().collect::<Vec<_>>(), expected);

    let error = atb_embed::write(Language::Rust, &bundle, source(), &project).expect_err("there");
    assert!(error.to_string().ends_with("exists already"), "{error}");
    let error = atb_embed::write(Language::C, &bundle, folder.path(), &folder.path().join("c"));
    assert!(error.expect_err("no source").to_string().contains("no checkout"));
}

#[test]
fn the_number_in_the_app_is_a_measurement_like_every_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "", 0);
    let options = MeasureOptions { turns: 2, seconds: Some(0.1), ..MeasureOptions::default() };
    let bundle = Bundle::open(&bundle).expect("opens");
    let digest = atb_files::digest(&bundle.part("model.onnx").expect("there"));
    let measurement = measure(bundle, &options).expect("measures");
    let path = folder.path().join("app-record.jsonl");
    std::fs::write(&path, &measurement.text).expect("writes");
    let file = MeasurementFile::read(&path).expect("a measurement file");
    assert_eq!(file.records.len(), 2);
    for record in &file.records {
        assert_eq!(record.subject, Subject::Model(format!("model.onnx@sha256:{digest}")));
        assert_eq!(record.role, Role::Check);
        assert!(record.samples_us.len() >= file.header.protocol.min_pairs);
        assert!(record.build_ms > 0.0);
    }
    assert_eq!(file.header.protocol.workload.sequence, 32);
    let latencies: Vec<f64> =
        file.records.iter().map(|record| file.latency_ms(record).expect("a latency")).collect();
    let (low, high) = (latencies[0].min(latencies[1]), latencies[0].max(latencies[1]));
    let found = measurement.latency_ms;
    assert!(found >= low * 0.999 && found <= high * 1.001, "{found} of {latencies:?}");

    // A core that is not there is refused as the agent refuses it.
    let bundle = Bundle::open(&folder.path().join("bundle")).expect("opens");
    let options = MeasureOptions { cores: vec![1000], ..options };
    let error = measure(bundle, &options).expect_err("no such core").to_string();
    assert!(error.contains("core 1000 is not available"), "{error}");
}
