//! Full disks and folders that may not be written to, for the commands that make something.
//!
//! Each command is run once in peace. Then it is run on a disk with too little room, with a limit to
//! the size of a file, and in a folder that is read only. It must say what is wrong and end with
//! status 1; what it leaves must be such that the same command, run again where nothing is wrong,
//! comes to the same end as the one in peace. Needs root, to mount.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::kill::{Arguments, Job, Program, Random, Reference, Tally, finish};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The disk has no more room.
    Disk,
    /// A file may not grow any more.
    File,
    /// The folder is read only.
    ReadOnly,
}

/// What came of the faults of one command.
#[derive(Default)]
struct Faults {
    tried: BTreeMap<Fault, u64>,
    /// Of these, how many the command told of; the others had room enough.
    told: BTreeMap<Fault, u64>,
    /// How many ended without a message, or otherwise than with status 1.
    wrong: u64,
    tally: Tally,
}

/// Tries what `arguments` say and prints a table; fails if anything was wrong.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments = Arguments::parse(arguments)?;
    arguments.in_scratch(|program, jobs, scratch| {
        let mut random = Random(arguments.seed);
        let mut results = Vec::new();
        for job in jobs {
            results.push((job.name, faults(program, job, scratch, arguments.runs, &mut random)?));
        }
        println!("{}", table(&results));
        let fine = |it: &Faults| it.wrong + it.tally.failed == 0 && it.tally.differences.is_empty();
        Ok(results.iter().all(|(_, result)| fine(result)))
    })
}

/// Tries each fault on `job` `runs` times.
fn faults(
    program: &Program,
    job: &Job,
    scratch: &Path,
    runs: u64,
    random: &mut Random,
) -> anyhow::Result<Faults> {
    let arguments: Vec<&str> = job.arguments.iter().map(String::as_str).collect();
    let in_peace = scratch.join(format!("{}-reference", job.name));
    std::fs::create_dir(&in_peace)?;
    let begin = std::time::Instant::now();
    let said = program.succeed(&in_peace, &arguments)?;
    let whole = begin.elapsed();
    let reference = Reference { folder: &in_peace, said: &said };
    let sizes = sizes(&in_peace)?;
    let (all, largest) = (sizes.iter().sum::<u64>(), sizes.iter().max().copied().unwrap_or(0));
    let mut faults = Faults::default();
    for number in 0..3 * runs {
        let fault = [Fault::Disk, Fault::File, Fault::ReadOnly][(number % 3) as usize];
        let folder = scratch.join(format!("{}-{number}", job.name));
        std::fs::create_dir(&folder)?;
        // Uniform, a little beyond what the command leaves: while it runs it takes more.
        let kib = |bytes: u64, random: &mut Random| 4 + random.below(bytes * 5 / 4 / 1024 + 1);
        let script = match fault {
            Fault::Disk => {
                let size = kib(all, random);
                // The disk is gone with the shell; what is on it is kept.
                format!(
                    "mount -t tmpfs -o size={size}k none \"$0\" && cd \"$0\" || exit 90; \"$@\"; \
                     code=$?; mkdir ../kept && cp -a . ../kept || exit 91; exit $code"
                )
            }
            Fault::File => {
                // In blocks of 512 bytes.
                let size = 2 * kib(largest, random);
                format!("cd \"$0\" && trap '' XFSZ && ulimit -f {size} || exit 90; exec \"$@\"")
            }
            Fault::ReadOnly => {
                // Half of them in the midst.
                if random.below(2) == 0 {
                    program.kill_after(&folder, &arguments, whole.mul_f64(random.share()))?;
                }
                "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && cd \"$0\" || \
                 exit 90; exec \"$@\""
                    .to_owned()
            }
        };
        let done = job.is_done(&folder);
        let output = program
            .by_script(&folder, &script, &arguments)
            .output()
            .context("there is no program unshare (Debian: util-linux)")?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        ensure!(
            !matches!(code, Some(90 | 91)) && !stderr.starts_with("unshare:"),
            "mounting takes root: {stderr}"
        );
        if fault == Fault::Disk {
            std::fs::remove_dir(&folder)?;
            std::fs::rename(scratch.join("kept"), &folder)?;
        }
        *faults.tried.entry(fault).or_default() += 1;
        let message = stderr.find("error: ").map(|begin| &stderr[begin..]);
        let ended = match (code, message) {
            (Some(0), _) => true,
            (Some(1), Some(message)) if !message.contains("bug of atb") => {
                *faults.told.entry(fault).or_default() += 1;
                false
            }
            _ => {
                faults.wrong += 1;
                eprintln!("{}: {code:?}: {}", folder.display(), stderr.trim_end());
                continue;
            }
        };
        finish(program, job, &folder, ended || done, &reference, &mut faults.tally)?;
    }
    Ok(faults)
}

/// Bytes of every file below `folder`.
fn sizes(folder: &Path) -> anyhow::Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sizes.extend(self::sizes(&entry.path())?),
            false => sizes.push(entry.metadata()?.len()),
        }
    }
    Ok(sizes)
}

fn table(results: &[(&str, Faults)]) -> String {
    let mut lines = vec![
        "| command | full disk | file limit | read only | no message | failed afterwards | \
         differs afterwards |"
            .to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    for (name, Faults { tried, told, wrong, tally }) in results {
        let of = |fault: Fault| {
            let count = |counts: &BTreeMap<Fault, u64>| counts.get(&fault).copied().unwrap_or(0);
            format!("{} of {}", count(told), count(tried))
        };
        let differences: u64 = tally.differences.values().sum();
        lines.push(format!(
            "| `atb {name}` | {} | {} | {} | {wrong} | {} | {differences} |",
            of(Fault::Disk),
            of(Fault::File),
            of(Fault::ReadOnly),
            tally.failed
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_counts_what_was_told() {
        let mut faults = Faults { wrong: 1, ..Faults::default() };
        faults.tried.insert(Fault::Disk, 4);
        faults.told.insert(Fault::Disk, 3);
        let table = table(&[("train", faults)]);
        assert!(
            table.contains("| `atb train` | 3 of 4 | 0 of 0 | 0 of 0 | 1 | 0 | 0 |"),
            "{table}"
        );
    }
}
