//! What is installed that could build for another machine.

use std::env;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A way to build for another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// cargo itself with a C compiler for the device.
    Cargo,
    /// `cargo zigbuild`, whose C compiler is zig.
    Zigbuild,
    /// `cross`, which builds in a container.
    Cross,
}

impl Tool {
    /// All, the fastest first.
    pub(crate) const ALL: [Self; 3] = [Self::Cargo, Self::Zigbuild, Self::Cross];

    /// What it lacks to build for `triple` from `source`.
    #[must_use]
    pub fn missing(self, triple: &str, source: &Path) -> Vec<String> {
        let mut missing = Vec::new();
        let mut needs = |there: bool, what: &str| {
            if !there {
                missing.push(what.to_owned());
            }
        };
        match self {
            Self::Cargo => {
                match compiler(triple) {
                    Some((program, _)) => needs(is_on_path(program), program),
                    None => needs(false, "a known C compiler for it"),
                }
                needs(has_standard_library(triple, source), "Rust's standard library for it");
            }
            Self::Zigbuild => {
                needs(is_on_path("cargo-zigbuild"), "cargo-zigbuild");
                needs(has_standard_library(triple, source), "Rust's standard library for it");
            }
            Self::Cross => {
                needs(is_on_path("cross"), "the program cross");
                let engine = ["docker", "podman"].iter().any(|engine| succeeds(engine, &["info"]));
                needs(engine, "a running Docker or Podman");
            }
        }
        missing
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cargo => "cargo",
            Self::Zigbuild => "cargo zigbuild",
            Self::Cross => "cross",
        })
    }
}

/// The first tool that could build for `triple` now.
///
/// # Errors
/// The shortest way to have one, where there is none.
pub fn tool_for(triple: &str) -> Result<Tool, String> {
    let can = |tool: &Tool| tool.missing(triple, Path::new(".")).is_empty();
    Tool::ALL.into_iter().find(can).ok_or_else(|| how_to_install(triple))
}

/// What a C compiler for `triple` is called, and the Debian packages that have it.
pub(crate) fn compiler(triple: &str) -> Option<(&'static str, &'static str)> {
    let aarch64 = ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross");
    let arm = ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross");
    match triple {
        "aarch64-unknown-linux-musl" | "aarch64-unknown-linux-gnu" => Some(aarch64),
        "armv7-unknown-linux-musleabihf" | "armv7-unknown-linux-gnueabihf" => Some(arm),
        "x86_64-unknown-linux-musl" => Some(("gcc", "gcc")),
        "aarch64-linux-android" => {
            Some(("aarch64-linux-android24-clang", "google-android-ndk-installer"))
        }
        _ => None,
    }
}

/// The shortest way to have a tool that builds for `triple`.
pub(crate) fn how_to_install(triple: &str) -> String {
    match compiler(triple) {
        Some((_, packages)) => {
            format!("on Debian: apt install {packages} && rustup target add {triple}")
        }
        None => format!("pip install ziglang cargo-zigbuild && rustup target add {triple}"),
    }
}

fn has_standard_library(triple: &str, source: &Path) -> bool {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", triple])
        .current_dir(source)
        .output();
    output.is_ok_and(|output| {
        output.status.success()
            && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

/// Whether a program of this name is to be had.
#[must_use]
pub fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}
