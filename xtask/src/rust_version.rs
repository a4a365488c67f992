//! Whether every dependency is content with the Rust version that the workspace declares. That
//! the workspace's own code is, clippy's `incompatible_msrv` checks.

use std::env;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// What `cargo metadata` says, as far as it counts here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    rust_version: Option<String>,
}

/// Looks at the dependencies of this platform in Cargo.lock.
pub(crate) fn check() -> anyhow::Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let platform = output(Command::new(rustc).args(["--print", "host-tuple"]))?;
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform"];
    let metadata = output(Command::new(cargo).args(arguments).arg(platform.trim()))?;
    let Metadata { packages } = serde_json::from_str(&metadata).context("cargo metadata")?;
    let newer = needing_more(&packages, env!("CARGO_PKG_RUST_VERSION"))?;
    ensure!(
        newer.is_empty(),
        "these need a newer Rust than `rust-version` in Cargo.toml says: {}; take older ones with \
         `cargo update --precise`, or raise it",
        newer.join(", ")
    );
    Ok(())
}

/// Those of the packages that need a newer Rust than `declared`.
fn needing_more(packages: &[Package], declared: &str) -> anyhow::Result<Vec<String>> {
    let declared = parts(declared)?;
    let mut newer = Vec::new();
    for Package { name, version, rust_version } in packages {
        let Some(needed) = rust_version else { continue };
        if parts(needed)? > declared {
            newer.push(format!("{name} {version} ({needed})"));
        }
    }
    Ok(newer)
}

/// Major and minor version and patch.
fn parts(version: &str) -> anyhow::Result<[u64; 3]> {
    let mut parts = [0; 3];
    for (part, text) in parts.iter_mut().zip(version.split('.')) {
        *part = text.parse().with_context(|| format!("the Rust version {version}"))?;
    }
    Ok(parts)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let package = |rust_version: Option<&str>| Package {
            name: "a".to_owned(),
            version: "1.2.3".to_owned(),
            rust_version: rust_version.map(str::to_owned),
        };
        let versions = [None, Some("1.9"), Some("1.94"), Some("1.94.0"), Some("1.94.1")];
        let newer = needing_more(&versions.map(package), "1.94").expect("versions");
        assert_eq!(newer, ["a 1.2.3 (1.94.1)"]);
    }
}
