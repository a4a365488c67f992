//! Two processes that want to write to the same place.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::job::Job;

/// A simulated device on which a simulated second takes `pace` seconds.
fn device(pace: f64) -> String {
    format!("name = \"phone\"\n[transport]\nkind = \"simulated\"\npace = {pace}\n")
}

/// Longer than a program takes that was just started to lock what it writes to.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts atb, which must hold the lock file `lock` soon.
fn holding(job: &Job, arguments: &[&str], lock: &Path) -> Child {
    let mut child = job
        .command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("atb starts");
    let begin = Instant::now();
    while fs::read_to_string(lock).is_ok_and(|holder| holder.is_empty()) || !lock.exists() {
        assert!(begin.elapsed() < PATIENCE, "there is no {}", lock.display());
        assert_eq!(child.try_wait().expect("a child"), None, "it ended early");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Checks that atb is refused while `arguments` of another process are at work, and that the same
/// arguments come to their end once that one is killed.
fn one_at_a_time(job: &Job, arguments: &[&str], lock: &str, place: &str, others: &[&[&str]]) {
    let lock = job.path(lock);
    let mut first = holding(job, arguments, &lock);
    let refused = format!(
        "error: another atb (process {}) is writing to {place}\n\
         hint: wait until it has ended, or name another place to write to",
        first.id()
    );
    for other in std::iter::once(&arguments).chain(others) {
        assert_eq!(job.fails(other), refused);
    }
    assert_eq!(first.try_wait().expect("a child"), None, "it ended early");
    first.kill().expect("kills");
    first.wait().expect("ends");
    assert!(lock.exists(), "it was killed");
    fs::write(job.path("phone.toml"), device(0.0)).expect("writes");
    job.succeeds(arguments);
    assert!(!lock.exists(), "what was left over is removed");
}

#[test]
fn one_run_and_one_profile_at_a_time_write_to_a_place() {
    let job = Job::new();
    fs::write(job.path("phone.toml"), device(20.0)).expect("writes");
    job.change("output = \"out\"", "output = \"out\"\ntarget = \"phone.toml\"");
    job.space();
    one_at_a_time(&job, &["run", "job.toml"], "out/.lock", "out", &[]);
    // A run also holds what it appends to.
    fs::write(job.path("phone.toml"), device(20.0)).expect("writes");
    let profile = ["profile", "--target", "phone.toml", "--space", "space.toml", "--samples", "3"];
    let refine = ["refine", "--target", "phone.toml", "--space", "space.toml"];
    let lock = ".measurements.jsonl.lock";
    one_at_a_time(&job, &profile, lock, "measurements.jsonl", &[&refine]);
    // What is complete is only read, whoever holds it.
    fs::write(job.path("phone.toml"), device(20.0)).expect("writes");
    job.succeeds(&profile);
}

#[test]
fn one_training_at_a_time_writes_to_a_folder() {
    let job = Job::new();
    fs::write(job.path("text.txt"), "A text.\nAnother one.\n\n".repeat(50)).expect("writes");
    let train = [
        "train",
        "--text",
        "text.txt",
        "--start",
        "superplm",
        "--objective",
        "kd",
        "--arch",
        "2-64-128-4-64",
        "--out",
        "trained",
    ];
    let config = "teacher = \"superplm\"\nsequence_length = 16\nbatch_size = 2\n\
                  [schedule]\nsteps = 2000\n[held_out]\nsequence_length = 8\nparagraphs = 1\n";
    fs::write(job.path("train.toml"), config).expect("writes");
    let train = [&["train", "train.toml"], &train[1..]].concat();
    let lock = job.path("trained/.lock");
    let mut first = holding(&job, &train, &lock);
    let message = job.fails(&train);
    let holder = format!("another atb (process {}) is writing to trained", first.id());
    assert!(message.contains(&holder), "{message}");
    first.kill().expect("kills");
    first.wait().expect("ends");
    job.succeeds(&[&train[..], &["--time-limit", "1ms"]].concat());
    assert!(!lock.exists());
    let metrics = fs::read_to_string(job.path("trained/metrics.jsonl")).expect("metrics");
    let mut steps: Vec<&str> = metrics.lines().filter(|line| line.contains("\"step\",")).collect();
    let all = steps.len();
    steps.dedup();
    assert_eq!(steps.len(), all, "{metrics}");
}
