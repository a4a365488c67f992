//! Gives the crate the exact version of the engine, as `Cargo.lock` has it: kernels change
//! between patch releases, and with them what was measured.

use std::path::Path;
use std::{env, fs};

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let lock = Path::new(&manifest).join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-changed=build.rs");
    let text = fs::read_to_string(&lock).unwrap_or_default();
    let version = text
        .split("[[package]]")
        .find(|package| package.lines().any(|line| line == "name = \"tract-core\""))
        .and_then(|package| package.lines().find_map(|line| line.strip_prefix("version = ")));
    let version = version.map_or("of unknown version", |version| version.trim_matches('"'));
    println!("cargo::rustc-env=ATB_ENGINE=tract {version}");
}
