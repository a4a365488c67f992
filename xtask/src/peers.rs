//! `cargo xtask peers`: comparisons with peers, each brought from its registry, and the document of
//! what they came to.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// One comparison.
struct Comparison {
    name: &'static str,
    /// Program of `benches` and its arguments, or a Python script and its.
    program: Program,
    arguments: &'static [&'static str],
}

enum Program {
    Bench(&'static str),
    /// A script that takes one of the workspace's programs as its first argument.
    Python(&'static str, &'static str),
}

/// The options that the kept data was taken with, see benches/README.md.
const COMPARISONS: [Comparison; 6] = [
    Comparison {
        name: "engines",
        program: Program::Bench("compare-engines"),
        arguments: &[
            "--lengths",
            "128,32",
            "--rounds",
            "15",
            "--engines",
            "fixed,tract,rten,onnx-runtime-exact,onnx-runtime",
            "--out",
            "benches/engines",
        ],
    },
    Comparison {
        name: "threads-2",
        program: Program::Bench("compare-engines"),
        arguments: &[
            "--lengths",
            "128,32",
            "--rounds",
            "11",
            "--threads",
            "2",
            "--engines",
            "fixed,tract,rten,onnx-runtime-exact,onnx-runtime",
            "--out",
            "benches/engines/threads-2",
        ],
    },
    Comparison {
        name: "int8",
        program: Program::Bench("compare-engines"),
        arguments: &[
            "--lengths",
            "128",
            "--rounds",
            "9",
            "--precision",
            "int8",
            "--engines",
            "fixed,tract,rten,onnx-runtime",
            "--out",
            "benches/engines/int8",
        ],
    },
    Comparison {
        name: "predictors",
        program: Program::Bench("compare-predictors"),
        arguments: &[],
    },
    Comparison {
        name: "training",
        program: Program::Python("benches/training/compare.py", "train-step"),
        arguments: &[],
    },
    Comparison {
        name: "fine-tuning",
        program: Program::Python("benches/finetuning/compare.py", "atb"),
        arguments: &["--threads", "1", "--turns", "3", "--steps", "100"],
    },
];

/// Runs the comparisons that `arguments` name, all without any, and writes the document of what is
/// kept; with `--from-data` only that.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let mut asked: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let from_data = asked.iter().position(|name| *name == "--from-data");
    if let Some(at) = from_data {
        asked.remove(at);
    }
    let names: Vec<&str> = COMPARISONS.iter().map(|comparison| comparison.name).collect();
    if let Some(unknown) = asked.iter().find(|name| !names.contains(name)) {
        bail!("there is no comparison `{unknown}`; there are {}", names.join(", "));
    }
    if from_data.is_none() {
        let is_asked = |it: &&Comparison| asked.is_empty() || asked.contains(&it.name);
        for comparison in COMPARISONS.iter().filter(is_asked) {
            eprintln!("{}", comparison.name);
            compare(root, comparison)?;
        }
    }
    // Nothing of this depends on speed.
    let writer = built(root, "write-benchmarks", &[])?;
    finish(root, Command::new(&writer), "write-benchmarks")
}

fn compare(root: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    match comparison.program {
        Program::Bench(name) => {
            let mut command = Command::new(built(root, name, &["--release"])?);
            command.args(comparison.arguments);
            finish(root, command, name)
        }
        Program::Python(script, program) => {
            let has_torch = Command::new("python3").args(["-c", "import torch"]).status();
            if !has_torch.is_ok_and(|status| status.success()) {
                eprintln!(
                    "{}: left out, python3 has no torch; install it in a virtual environment with \
                     `pip install torch==2.15.0` and activate that",
                    comparison.name
                );
                return Ok(());
            }
            let mut command = Command::new("python3");
            command.arg(script).arg(built(root, program, &["--release"])?);
            command.args(comparison.arguments);
            finish(root, command, script)
        }
    }
}

/// Builds a program of the workspace, whose features are those of the whole, and gives its path.
fn built(root: &Path, program: &str, profile: &[&str]) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--workspace", "--bin", program]).args(profile);
    finish(root, command, &format!("cargo build --bin {program}"))?;
    let folder = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let profile = if profile.is_empty() { "debug" } else { "release" };
    Ok(root.join(folder).join(profile).join(program))
}

fn finish(root: &Path, mut command: Command, what: &str) -> anyhow::Result<()> {
    let status = command.current_dir(root).status();
    let status = status.with_context(|| format!("{what} could not be started"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}
