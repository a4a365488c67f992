//! The project's own chores: `cargo xtask check` validates everything, cheapest first.

mod circles;
mod dist;
mod faults;
mod fuzz;
mod kill;
mod peers;
mod rust_version;

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

/// One check: what it is called and how it is done.
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const LINTS: [Check; 3] = [
    Check { name: "format", arguments: &["fmt", "--all", "--check"], environment: &[] },
    Check {
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"],
        environment: &[],
    },
    Check {
        name: "docs",
        arguments: &["doc", "--workspace", "--no-deps"],
        environment: &[("RUSTDOCFLAGS", "--deny warnings")],
    },
];

const TESTS: [Check; 1] =
    [Check { name: "tests", arguments: &["test", "--workspace"], environment: &[] }];

const USAGE: &str = "usage: cargo xtask check|lint|circles|rust-version|kill|faults|fuzz|peers|dist\n\
                     check:        circles, rust-version, format, clippy, docs, tests\n\
                     lint:         the same without the tests\n\
                     circles:      modules of a crate that use each other in a circle\n\
                     rust-version: dependencies that need a newer Rust than the declared one\n\
                     kill:         --runs N [--seed S] [--only COMMAND] [--atb PATH]: kills the \
                     commands that make something and checks that nothing is lost\n\
                     faults:       --runs N [--seed S] [--only COMMAND] [--atb PATH]: the same \
                     commands on full disks and in folders that are read only\n\
                     fuzz:         [--seconds N] [--jobs N] [--keep] [TARGET...]: feeds the \
                     readers with made-up bytes, 60 s each if not told\n\
                     peers:        [--from-data] [COMPARISON...]: measures beside peers and \
                     writes docs/benchmarks.md from what is kept; with --from-data only writes\n\
                     dist:         [--target TRIPLE]: an archive of the release with completions, \
                     manual, licences, bill of materials and checksum";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => quick().and_then(|()| run(LINTS.iter().chain(&TESTS))),
        ["lint"] => quick().and_then(|()| run(LINTS.iter())),
        ["circles"] => circles(),
        ["rust-version"] => rust_version::check(),
        ["kill", ..] => kill::run(&arguments[1..]),
        ["faults", ..] => faults::run(&arguments[1..]),
        ["dist", ..] => dist::run(root(), &arguments[1..]),
        ["peers", ..] => peers::run(root(), &arguments[1..]),
        ["fuzz", ..] => fuzz::run(root(), &arguments[1..]),
        _ => bail!("{USAGE}"),
    }
}

/// The checks that compile nothing.
fn quick() -> anyhow::Result<()> {
    circles()?;
    rust_version::check()
}

fn circles() -> anyhow::Result<()> {
    circles::check(root())
}

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn run<'a>(checks: impl Iterator<Item = &'a Check>) -> anyhow::Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for check in checks {
        let begin = Instant::now();
        eprintln!("{}: cargo {}", check.name, check.arguments.join(" "));
        let status = Command::new(&cargo)
            .args(check.arguments)
            .envs(check.environment.iter().copied())
            .status()
            .with_context(|| format!("cargo could not be started for {}", check.name))?;
        if !status.success() {
            bail!("{} failed ({status})", check.name);
        }
        eprintln!("{}: passed in {:.0} s", check.name, begin.elapsed().as_secs_f64());
    }
    Ok(())
}
