//! `cargo xtask dist`: an archive to hand on, with what belongs beside the program, its bill of
//! materials and checksums.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

const SHELLS: [(&str, &str); 3] = [("bash", "atb.bash"), ("zsh", "_atb"), ("fish", "atb.fish")];
/// What goes along as it is.
const FILES: [&str; 5] =
    ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Builds the archive of the machine at hand, or of what `--target TRIPLE` says, into `dist/` of the
/// target folder.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let host = host()?;
    let triple = match arguments[..] {
        [] => host.clone(),
        ["--target", triple] => triple.to_owned(),
        _ => bail!("usage: cargo xtask dist [--target TRIPLE]"),
    };
    // The features are those of the whole workspace.
    let mut build = cargo(root);
    build.args(["build", "--release", "--workspace", "--bin", "atb", "--target", &triple]);
    finish(build, "cargo build")?;
    let targets = root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let program = targets.join(&triple).join("release/atb");

    let metadata = metadata(root, &triple)?;
    let version = metadata
        .packages
        .iter()
        .find(|package| package.name == "atb")
        .map(|package| package.version.clone())
        .context("the workspace has no package `atb`")?;
    let name = format!("autotinybert-{version}-{triple}");
    let folder = targets.join("dist").join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("completions"))?;
    fs::copy(&program, folder.join("atb")).with_context(|| program.display().to_string())?;
    for file in FILES {
        fs::copy(root.join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    // What the program itself writes needs one that runs here.
    let runs = match triple == host {
        true => program,
        false => {
            let mut build = cargo(root);
            build.args(["build", "--release", "--workspace", "--bin", "atb", "--target", &host]);
            finish(build, "cargo build")?;
            targets.join(&host).join("release/atb")
        }
    };
    for (shell, file) in SHELLS {
        let output = Command::new(&runs).args(["completions", shell]).output()?;
        fs::write(folder.join("completions").join(file), output.stdout)?;
    }
    let mut manual = Command::new(&runs);
    manual.args([OsStr::new("man"), OsStr::new("--out"), folder.join("man").as_os_str()]);
    finish(manual, "atb man")?;
    let bill = serde_json::to_string_pretty(&bill(&metadata, &version))?;
    fs::write(folder.join("sbom.cdx.json"), format!("{bill}\n"))?;

    let archive = format!("{name}.tar.gz");
    let within = targets.join("dist");
    let mut pack = Command::new("tar");
    pack.args(["--sort=name", "--owner=0", "--group=0", "-czf", &archive, &name]);
    finish(in_folder(pack, &within), "tar")?;
    let output = in_folder(Command::new("sha256sum"), &within).arg(&archive).output()?;
    fs::write(within.join(format!("{archive}.sha256")), output.stdout)?;
    println!("{}", within.join(archive).display());
    Ok(())
}

fn in_folder(mut command: Command, folder: &PathBuf) -> Command {
    command.current_dir(folder);
    command
}

fn cargo(root: &Path) -> Command {
    let command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    in_folder(command, &root.to_owned())
}

fn finish(mut command: Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{what} could not be started"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// The triple of the machine at hand.
fn host() -> anyhow::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}

/// Of what `cargo metadata` prints, what is needed.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Absent of a package of the workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// Absent of what the program itself needs; else `dev` or `build`.
    kind: Option<String>,
}

fn metadata(root: &Path, triple: &str) -> anyhow::Result<Metadata> {
    let mut command = cargo(root);
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", triple]);
    let output = command.output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A bill of materials by CycloneDX 1.5.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: About,
    components: Vec<Component>,
}

#[derive(Debug, PartialEq, Serialize)]
struct About {
    component: Component,
}

#[derive(Debug, PartialEq, Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    version: String,
    purl: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<License>,
}

#[derive(Debug, PartialEq, Serialize)]
struct License {
    expression: String,
}

/// What is compiled into the program `atb`: its dependencies and theirs, without those of builds and
/// tests.
fn bill(metadata: &Metadata, version: &str) -> Bill {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let is_atb = |package: &&Package| package.name == "atb" && package.source.is_none();
    let mut waiting: Vec<&str> =
        metadata.packages.iter().filter(is_atb).map(|package| package.id.as_str()).collect();
    let mut found: BTreeMap<&str, &Package> = BTreeMap::new();
    while let Some(id) = waiting.pop() {
        let (Some(package), Some(node)) = (packages.get(id), nodes.get(id)) else { continue };
        if found.insert(id, package).is_some() {
            continue;
        }
        let needed =
            |dependency: &&Dependency| dependency.dep_kinds.iter().any(|it| it.kind.is_none());
        waiting.extend(node.deps.iter().filter(needed).map(|dependency| dependency.pkg.as_str()));
    }
    let component = |kind, package: &Package| Component {
        kind,
        name: package.name.clone(),
        version: package.version.clone(),
        purl: format!("pkg:cargo/{}@{}", package.name, package.version),
        licenses: package
            .license
            .iter()
            .map(|license| License { expression: license.replace('/', " OR ") })
            .collect(),
    };
    let mut components: Vec<Component> = found
        .into_values()
        .filter(|package| !is_atb(package))
        .map(|package| component("library", package))
        .collect();
    components.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    let own = Component {
        kind: "application",
        name: "atb".to_owned(),
        version: version.to_owned(),
        purl: format!("pkg:cargo/atb@{version}"),
        licenses: vec![License { expression: "MIT OR Apache-2.0".to_owned() }],
    };
    Bill {
        bom_format: "CycloneDX",
        spec_version: "1.5",
        version: 1,
        metadata: About { component: own },
        components,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_has_what_is_compiled_in_and_nothing_of_builds_or_tests() {
        let package = |name: &str, source: &str| {
            format!(
                r#"{{"id": "{name}", "name": "{name}", "version": "1.0.0", "license": "MIT/Apache-2.0", "source": {source}}}"#
            )
        };
        let text = format!(
            r#"{{"packages": [{}, {}, {}, {}], "resolve": {{"nodes": [
                {{"id": "atb", "deps": [
                    {{"pkg": "serde", "dep_kinds": [{{"kind": null}}]}},
                    {{"pkg": "insta", "dep_kinds": [{{"kind": "dev"}}]}}]}},
                {{"id": "serde", "deps": [{{"pkg": "cc", "dep_kinds": [{{"kind": "build"}}]}}]}},
                {{"id": "insta", "deps": []}}, {{"id": "cc", "deps": []}}]}}}}"#,
            package("atb", "null"),
            package("serde", "\"registry\""),
            package("insta", "\"registry\""),
            package("cc", "\"registry\"")
        );
        let metadata: Metadata = serde_json::from_str(&text).expect("metadata");
        let bill = bill(&metadata, "1.0.0");
        let names: Vec<&str> = bill.components.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["serde"]);
        assert_eq!(bill.components[0].licenses[0].expression, "MIT OR Apache-2.0");
        assert_eq!(bill.components[0].purl, "pkg:cargo/serde@1.0.0");
    }
}
