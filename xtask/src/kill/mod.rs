//! Kills the commands that make something, again and again, and checks that nothing is lost.
//!
//! Each command is run once without interruption. Then it is started in a folder of its own and
//! killed with SIGKILL at a moment drawn uniformly from the time that it took, up to three times
//! one after another, and run to its end. What it leaves must be what the uninterrupted one left.

mod compare;
mod jobs;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use compare::{Difference, differences};
pub(crate) use jobs::Job;
use jobs::prepare;

/// Most kills before a command is run to its end.
const MOST_KILLS: u64 = 3;

/// What is asked for on the command line.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// Kills of all commands together.
    pub(crate) runs: u64,
    pub(crate) seed: u64,
    /// The program; the one beside this program if absent.
    atb: Option<PathBuf>,
    /// Only this command.
    only: Option<String>,
}

impl Arguments {
    pub(crate) fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut parsed = Self { runs: 0, seed: 0, atb: None, only: None };
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let value = rest.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--runs" => parsed.runs = value.parse().context("--runs takes a number")?,
                "--seed" => parsed.seed = value.parse().context("--seed takes a number")?,
                "--atb" => parsed.atb = Some(value.into()),
                "--only" => parsed.only = Some(value.clone()),
                _ => bail!("unknown option {flag}"),
            }
        }
        ensure!(parsed.runs > 0, "--runs says how often; it is missing or 0");
        Ok(parsed)
    }

    /// Has `campaign` try the program in a folder of its own, which is kept if anything was wrong.
    pub(crate) fn in_scratch(
        &self,
        campaign: impl FnOnce(&Program, &[Job], &Path) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let beside = env::current_exe()?.with_file_name("atb");
        let atb = self.atb.clone().unwrap_or(beside);
        ensure!(
            atb.is_file(),
            "there is no {}: build it with `cargo build --workspace` or name it with --atb",
            atb.display()
        );
        let scratch = env::temp_dir().join(format!("atb-trial-{}", std::process::id()));
        let inputs = scratch.join("inputs");
        std::fs::create_dir_all(&inputs)?;
        let program = Program { atb: atb.canonicalize()?, inputs: inputs.clone() };
        let mut jobs = prepare(&program, &inputs)?;
        jobs.retain(|job| self.only.as_ref().is_none_or(|only| job.name == only));
        ensure!(!jobs.is_empty(), "--only names none of the commands");
        let result = campaign(&program, &jobs, &scratch);
        match &result {
            Ok(true) => std::fs::remove_dir_all(&scratch)?,
            _ => eprintln!("everything is kept in {}", scratch.display()),
        }
        ensure!(result?, "what was interrupted did not come to the same end");
        Ok(())
    }
}

/// What came of the kills of one command.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Processes that were killed.
    kills: u64,
    /// Chains of kills that were run to their end.
    chains: u64,
    /// Chains whose last run failed.
    pub(crate) failed: u64,
    /// Chains with each kind of difference.
    pub(crate) differences: BTreeMap<Difference, u64>,
    /// How long it takes without interruption.
    seconds: f64,
}

/// Kills the commands as `arguments` say and prints a table; fails if anything was lost.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments = Arguments::parse(arguments)?;
    arguments.in_scratch(|program, jobs, scratch| {
        let mut random = Random(arguments.seed);
        let mut tallies = Vec::new();
        let mut share = Share { runs: arguments.runs, jobs: jobs.len() as u64 };
        for job in jobs {
            let tally = kill(program, job, scratch, share.next(), &mut random)?;
            eprintln!("{}: {} kills, {tally:?}", job.name, tally.kills);
            tallies.push((job.name, tally));
        }
        println!("{}", table(&tallies));
        Ok(tallies.iter().all(|(_, tally)| tally.failed == 0 && tally.differences.is_empty()))
    })
}

/// Deals the kills out to the commands.
struct Share {
    runs: u64,
    jobs: u64,
}

impl Share {
    fn next(&mut self) -> u64 {
        let next = self.runs.div_ceil(self.jobs.max(1));
        self.runs -= next.min(self.runs);
        self.jobs = self.jobs.saturating_sub(1);
        next
    }
}

/// `atb`, on a machine without Python and without fetched files.
pub(crate) struct Program {
    atb: PathBuf,
    inputs: PathBuf,
}

impl Program {
    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.atb);
        command.args(arguments).current_dir(folder).env("PATH", self.no_programs());
        self.surround(&mut command);
        command
    }

    /// The program by a POSIX shell's `script`, in which `"$@"` runs it and `"$0"` is the folder.
    pub(crate) fn by_script(&self, folder: &Path, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        let path = format!("PATH={}", self.no_programs().display());
        command.args(["--mount", "sh", "-c", script]).arg(folder).args(["env", &path]);
        command.arg(&self.atb).args(arguments);
        self.surround(&mut command);
        command
    }

    fn no_programs(&self) -> PathBuf {
        self.inputs.join("no-programs")
    }

    fn surround(&self, command: &mut Command) {
        command
            .env("ATB_CACHE", self.inputs.join("cache"))
            .env_remove("ORT_DYLIB_PATH")
            .stdin(Stdio::null());
    }

    /// Runs it to its end.
    pub(crate) fn finish(&self, folder: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
        self.command(folder, arguments).output().context("atb could not be started")
    }

    /// As [`Program::finish`]; it must succeed.
    pub(crate) fn succeed(&self, folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.finish(folder, arguments)?;
        ensure!(
            output.status.success(),
            "atb {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Kills it after `delay`; `false` if it had ended before.
    pub(crate) fn kill_after(
        &self,
        folder: &Path,
        arguments: &[&str],
        delay: Duration,
    ) -> anyhow::Result<bool> {
        let begin = Instant::now();
        let mut child = self
            .command(folder, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("atb could not be started")?;
        thread::sleep(delay.saturating_sub(begin.elapsed()));
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        child.kill()?;
        child.wait()?;
        Ok(true)
    }
}

/// Kills `job` `kills` times.
fn kill(
    program: &Program,
    job: &Job,
    scratch: &Path,
    kills: u64,
    random: &mut Random,
) -> anyhow::Result<Tally> {
    let arguments: Vec<&str> = job.arguments.iter().map(String::as_str).collect();
    let reference = scratch.join(format!("{}-reference", job.name));
    std::fs::create_dir(&reference)?;
    let begin = Instant::now();
    let said = program.succeed(&reference, &arguments)?;
    let whole = begin.elapsed();
    let mut tally = Tally { seconds: whole.as_secs_f64(), ..Tally::default() };
    while tally.kills < kills {
        let folder = scratch.join(format!("{}-{}", job.name, tally.chains));
        std::fs::create_dir(&folder)?;
        let most = 1 + random.below(MOST_KILLS.min(kills - tally.kills));
        let mut ended = false;
        for _ in 0..most {
            if !program.kill_after(&folder, &arguments, whole.mul_f64(random.share()))? {
                ended = true;
                break;
            }
            tally.kills += 1;
        }
        tally.chains += 1;
        let reference = Reference { folder: &reference, said: &said };
        finish(program, job, &folder, ended, &reference, &mut tally)?;
    }
    Ok(tally)
}

/// What a command came to that was not interrupted.
pub(crate) struct Reference<'a> {
    pub(crate) folder: &'a Path,
    /// What it said on its standard output.
    pub(crate) said: &'a str,
}

/// Runs `job` to its end in `folder` and compares; what came to the same end is removed. `ended` is
/// whether it had already.
pub(crate) fn finish(
    program: &Program,
    job: &Job,
    folder: &Path,
    ended: bool,
    reference: &Reference<'_>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let arguments: Vec<&str> = job.arguments.iter().map(String::as_str).collect();
    // What is done says so, and may not be done again; its last traces go all the same.
    let is_refused = job.refuses_again && (ended || job.is_done(folder));
    let output = program.finish(folder, &arguments)?;
    if !is_refused {
        if !output.status.success() {
            tally.failed += 1;
            let stderr = String::from_utf8_lossy(&output.stderr);
            eprintln!("{}: {}", folder.display(), stderr.trim_end());
            return Ok(());
        }
        if job.repeats && String::from_utf8_lossy(&output.stdout) != reference.said {
            *tally.differences.entry(Difference::Output).or_default() += 1;
            eprintln!("{}: it said something else", folder.display());
            return Ok(());
        }
    }
    let found = differences(reference.folder, folder)?;
    for (difference, text) in &found {
        *tally.differences.entry(*difference).or_default() += 1;
        eprintln!("{}: {text}", folder.display());
    }
    if found.is_empty() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn table(tallies: &[(&str, Tally)]) -> String {
    let mut lines = vec![
        "| command | alone | kills | run to the end | failed | lost | repeated | other content | \
         debris |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let mut sum = Tally::default();
    let row = |name: &str, tally: &Tally, seconds: String| {
        let of = |kinds: &[Difference]| -> u64 {
            kinds.iter().filter_map(|kind| tally.differences.get(kind)).sum()
        };
        format!(
            "| {name} | {seconds} | {} | {} | {} | {} | {} | {} | {} |",
            tally.kills,
            tally.chains,
            tally.failed,
            of(&[Difference::Lost]),
            of(&[Difference::Repeated]),
            of(&[Difference::Content, Difference::Output]),
            of(&[Difference::Debris]),
        )
    };
    for (name, tally) in tallies {
        lines.push(row(&format!("`atb {name}`"), tally, format!("{:.1} s", tally.seconds)));
        sum.kills += tally.kills;
        sum.chains += tally.chains;
        sum.failed += tally.failed;
        for (difference, count) in &tally.differences {
            *sum.differences.entry(*difference).or_default() += count;
        }
    }
    lines.push(row("all", &sum, String::new()));
    lines.join("\n")
}

/// Numbers that follow from a seed (SplitMix64, Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// From 0 to below 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to below `count`; `count` is small beside 2^64.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.next() % count.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_splitmix64() {
        // The first of seed 1234567, from the reference implementation.
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.share())));
    }

    #[test]
    fn kills_are_dealt_out_whole() {
        let mut share = Share { runs: 7, jobs: 3 };
        assert_eq!([share.next(), share.next(), share.next()], [3, 2, 2]);
    }

    #[test]
    fn the_table_counts_each_kind() {
        let mut tally = Tally { kills: 5, chains: 3, failed: 1, ..Tally::default() };
        tally.differences.insert(Difference::Debris, 2);
        let table = table(&[("train", tally)]);
        assert!(table.contains("| `atb train` | 0.0 s | 5 | 3 | 1 | 0 | 0 | 0 | 2 |"), "{table}");
        assert!(table.ends_with("| all |  | 5 | 3 | 1 | 0 | 0 | 0 | 2 |"), "{table}");
    }

    #[test]
    fn arguments_are_checked() {
        let parse = |text: &str| {
            Arguments::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(parse("--runs 5 --seed 2").expect("valid").seed, 2);
        for wrong in ["", "--runs", "--runs x", "--walks 3", "--runs 0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
