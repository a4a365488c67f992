//! Runs the fuzz targets: builds them with counters of what was reached, feeds each for a while and
//! counts.
//!
//! The counters are LLVM's own, so that any toolchain will do. Kept inputs (`fuzz/corpus`) are what
//! a run begins with; what it finds new goes into the target folder and, with `--keep`, as few of it
//! as reach the same into the kept inputs.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

/// What LLVM is asked for, as libFuzzer wants it.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
                     -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Most memory that an input may take, in MiB, and most time in seconds.
const LIMITS: [&str; 2] = ["-rss_limit_mb=4096", "-timeout=20"];

/// What libFuzzer says before the number of inputs that it tried.
const EXECUTED: &str = "stat::number_of_executed_units:";

/// What is asked for on the command line.
#[derive(Debug)]
struct Arguments {
    /// Seconds for each target.
    seconds: u64,
    /// Targets at a time.
    jobs: usize,
    /// Whether what is found new is kept.
    keep: bool,
    /// The targets; all if empty.
    targets: Vec<String>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut parsed = Self { seconds: 60, jobs: 1, keep: false, targets: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut number = || -> anyhow::Result<u64> {
                let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
                value.parse().with_context(|| format!("{argument} takes a number"))
            };
            match argument.as_str() {
                "--seconds" => parsed.seconds = number()?,
                "--jobs" => parsed.jobs = usize::try_from(number()?)?,
                "--keep" => parsed.keep = true,
                flag if flag.starts_with('-') => bail!("unknown option {flag}"),
                target => parsed.targets.push(target.to_owned()),
            }
        }
        ensure!(parsed.seconds > 0 && parsed.jobs > 0, "--seconds and --jobs are at least 1");
        Ok(parsed)
    }
}

/// What came of one target.
struct Outcome {
    target: String,
    executed: u64,
    seconds: f64,
    /// What libFuzzer said, of a target that failed.
    failure: Option<String>,
}

/// Where everything is.
struct Room {
    /// The folder `fuzz`.
    folder: PathBuf,
    /// The built programs.
    programs: PathBuf,
    /// What runs find, one folder for each target.
    found: PathBuf,
}

/// Builds and runs the targets as `arguments` say and prints a table; fails if one of them did.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let Arguments { seconds, jobs, keep, targets } = Arguments::parse(arguments)?;
    let folder = root.join("fuzz");
    let known = known(&folder)?;
    for target in &targets {
        ensure!(known.contains(target), "no target {target}; there are {}", known.join(", "));
    }
    let targets = if targets.is_empty() { known } else { targets };
    let room = build(root, folder, &targets)?;
    let queue = Mutex::new(VecDeque::from(targets));
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(target) = next else { return Ok(()) };
                let outcome = feed(&room, target, seconds, keep)?;
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
            }
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a worker panicked"),
        })
    })?;
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by(|a, b| a.target.cmp(&b.target));
    println!("{}", table(&outcomes));
    let failed: Vec<&Outcome> = outcomes.iter().filter(|it| it.failure.is_some()).collect();
    for Outcome { target, failure, .. } in &failed {
        eprintln!("{target}:\n{}", failure.as_deref().unwrap_or_default());
    }
    ensure!(failed.is_empty(), "{} of {} targets failed", failed.len(), outcomes.len());
    Ok(())
}

/// The targets' names.
fn known(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets"))? {
        if let Some(name) = entry?.path().file_stem().and_then(|stem| stem.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn build(root: &Path, folder: PathBuf, targets: &[String]) -> anyhow::Result<Room> {
    let target_folder = env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let target_folder = target_folder.join("fuzz");
    let version =
        Command::new("rustc").arg("-vV").output().context("rustc could not be started")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say for which machine it compiles")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--target", host])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", &target_folder)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", FLAGS);
    for target in targets {
        command.args(["--bin", target]);
    }
    let status = command.status().context("cargo could not be started")?;
    ensure!(
        status.success(),
        "the fuzz targets could not be built ({status}); libFuzzer comes as C++, which takes a \
         compiler (Debian: g++)"
    );
    let programs = target_folder.join(host).join("debug");
    Ok(Room { folder, programs, found: target_folder.join("found") })
}

/// Runs one target.
fn feed(room: &Room, target: String, seconds: u64, keep: bool) -> anyhow::Result<Outcome> {
    let kept = room.folder.join("corpus").join(&target);
    let found = room.found.join(&target);
    // In memory, where there is such a folder.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { memory } else { &room.found };
    let scratch = scratch.join(format!("atb-fuzz-{}-{target}", std::process::id()));
    for folder in [&found, &scratch] {
        fs::create_dir_all(folder)?;
    }
    let command = |arguments: &[String]| {
        let mut command = Command::new(room.programs.join(&target));
        command.env("TMPDIR", &scratch).args(LIMITS).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let begin = Instant::now();
    let output = command(&[
        format!("-max_total_time={seconds}"),
        "-print_final_stats=1".to_owned(),
        format!("-artifact_prefix={}/fails-", found.display()),
        found.display().to_string(),
        kept.display().to_string(),
    ])
    .stderr(Stdio::piped())
    .output()
    .with_context(|| format!("{target} could not be started"))?;
    let seconds = begin.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    fs::remove_dir_all(&scratch)?;
    let succeeded = output.status.success();
    if succeeded && keep {
        fs::create_dir_all(&scratch)?;
        let merge =
            ["-merge=1".to_owned(), kept.display().to_string(), found.display().to_string()];
        let status = command(&merge).stderr(Stdio::null()).status()?;
        fs::remove_dir_all(&scratch)?;
        ensure!(status.success(), "{target}: what it found could not be merged ({status})");
    }
    let failure = (!succeeded).then(|| tail(&said));
    let executed = executed(&said).unwrap_or_default();
    eprintln!("{target}: {executed} executions in {seconds:.0} s");
    Ok(Outcome { target, executed, seconds, failure })
}

/// How many inputs were tried.
fn executed(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix(EXECUTED)?.trim().parse().ok())
}

/// The last lines, from the panic on if there is one.
fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let begin = panic.unwrap_or_else(|| lines.len().saturating_sub(30));
    lines[begin..].iter().take(60).copied().collect::<Vec<_>>().join("\n")
}

fn table(outcomes: &[Outcome]) -> String {
    let mut lines =
        vec!["| target | executions | seconds | |".to_owned(), "|---|---|---|---|".to_owned()];
    for Outcome { target, executed, seconds, failure } in outcomes {
        let failed = if failure.is_some() { "failed" } else { "" };
        lines.push(format!("| `{target}` | {executed} | {seconds:.0} | {failed} |"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        let parse = |text: &str| {
            Arguments::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let parsed = parse("--seconds 5 onnx --jobs 2 text --keep").expect("valid");
        assert_eq!((parsed.seconds, parsed.jobs, parsed.keep), (5, 2, true));
        assert_eq!(parsed.targets, ["onnx", "text"]);
        assert_eq!(parse("").expect("valid").seconds, 60);
        for wrong in ["--seconds", "--seconds x", "--seconds 0", "--jobs 0", "--walks"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let said = "#2 INITED\nthread panicked at a.rs:1:1\nboom\n\
                    stat::number_of_executed_units: 1234\nstat::peak_rss_mb: 5\n";
        assert_eq!(executed(said), Some(1234));
        assert_eq!(executed("nothing"), None);
        assert!(tail(said).starts_with("thread panicked at a.rs:1:1\nboom"));
    }

    #[test]
    fn every_target_has_a_body_a_program_and_kept_inputs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("reads");
        let bodies = fs::read_to_string(folder.join("bodies/src/lib.rs")).expect("reads");
        let names = known(&folder).expect("lists");
        assert!(!names.is_empty());
        for name in &names {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
            assert!(bodies.contains(&format!("::{name},")), "{name}");
            assert!(folder.join("corpus").join(name).is_dir(), "{name}");
        }
    }
}
