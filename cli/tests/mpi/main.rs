//! The program as `mpirun` starts it, with two ranks of one thread each.

#[path = "../suite/job.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod job;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use job::{Job, TRAINING, texts};

fn mpirun(job: &Job, ranks: usize, arguments: &[&str]) -> Command {
    let atb = job.command(&[]);
    let mut command = Command::new("mpirun");
    command
        .args(["-n", &ranks.to_string(), "--oversubscribe"])
        .arg(atb.get_program())
        .args(arguments)
        .current_dir(job.path(""))
        .env("RAYON_NUM_THREADS", "1")
        // Continuous integration is root.
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command
}

/// Runs two ranks, which must succeed, and returns their standard output.
fn succeed(job: &Job, arguments: &[&str]) -> String {
    let output = mpirun(job, 2, arguments).output().expect("mpirun starts");
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{arguments:?} failed:\n{stderr}\n{stdout}");
    stdout
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("reads");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Every loss of a training's steps.
fn losses(folder: &Path) -> Vec<f64> {
    let steps = lines(&folder.join("metrics.jsonl")).into_iter();
    let pairs = steps.filter(|line| line["kind"] == "step").flat_map(|line| {
        let losses = line["losses"].as_array().cloned().unwrap_or_default();
        losses.into_iter().map(|pair| pair[1].as_f64().expect("a loss"))
    });
    pairs.collect()
}

/// A training of six steps, in batches that two ranks can share.
fn training() -> Job {
    let job = Job::training();
    let text =
        TRAINING.replace("batch_size = 2", "batch_size = 4").replace("steps = 4", "steps = 6");
    fs::write(job.path("train.toml"), text).expect("writes");
    job
}

#[test]
fn two_ranks_train_as_one_does_and_continue_what_it_began() {
    let job = training();
    job.succeeds(&["train", "train.toml", "--out", "one"]);
    let stdout = succeed(&job, &["train", "train.toml", "--out", "two"]);
    assert_eq!(stdout.matches("6 (all are made)").count(), 1, "{stdout}");
    job.succeeds(&["train", "train.toml", "--out", "both", "--time-limit", "1ms"]);
    succeed(&job, &["train", "train.toml", "--out", "both"]);
    let expected = losses(&job.path("one"));
    for folder in ["two", "both"] {
        let found = losses(&job.path(folder));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4 * (1.0 + expected), "{found} for {expected}");
        }
        assert!(job.path(folder).join("model/model.safetensors").is_file());
    }
    let two = lines(&job.path("two/metrics.jsonl"));
    let exchanges: Vec<&Value> =
        two.iter().filter(|line| line["kind"] == "step").map(|line| &line["exchange"]).collect();
    assert_eq!(exchanges.len(), 6);
    assert!(exchanges.iter().all(|exchange| exchange["ranks"] == 2), "{exchanges:?}");
}

#[test]
fn two_ranks_fine_tune() {
    let job = Job::new();
    let task = "name = 'mood'\nkind = 'classification'\nlabels = ['bad', 'good']\n\
                first = 'text'\ntarget = 'label'\nmetrics = ['accuracy']\n\
                splits = { train = 'train.csv', dev = 'dev.csv' }\n";
    let rows = |numbers: std::ops::Range<usize>| {
        let row = |row| {
            let (word, label) = [("awful", "bad"), ("splendid", "good")][row % 2];
            format!("the {word} phone of {row} days,{label}\n")
        };
        "text,label\n".to_owned() + &numbers.map(row).collect::<String>()
    };
    fs::write(job.path("mood.toml"), task).expect("writes");
    fs::write(job.path("train.csv"), rows(0..61)).expect("writes");
    fs::write(job.path("dev.csv"), rows(500..520)).expect("writes");
    let finetune = ["finetune", "superplm", "--arch", "2-64-128-4-64", "--task", "mood.toml"];
    let rest = ["--epochs", "2", "--learning-rate", "2e-3", "--batch-size", "8", "--out"];
    let finetune = [&finetune[..], &rest].concat();
    job.succeeds(&[&finetune[..], &["one"]].concat());
    let stdout = succeed(&job, &[&finetune[..], &["two"]].concat());
    assert_eq!(stdout.matches("mood dev").count(), 1, "{stdout}");
    let (one, two) = (losses(&job.path("one")), losses(&job.path("two")));
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() < 1e-3, "{two} for {one}");
    }
}

#[test]
fn two_ranks_find_the_winner_that_one_finds() {
    let job = Job::new();
    job.profiles_a_phone();
    let space = ["--space", "space.toml"];
    job.succeeds(&[&["fit", "measurements.jsonl", "--out", "predictor.json"][..], &space].concat());
    let search = ["search", "job.toml", "--baseline", "3-96-256-4-96", "--speedup", "2"];
    let one = job.succeeds(&[&search[..], &["--evaluations", "one.jsonl"]].concat());
    let two = succeed(&job, &[&search[..], &["--evaluations", "two.jsonl"]].concat());
    assert_eq!(one, two);
    // In the order in which they came; each once.
    let sorted = |name: &str| {
        let mut lines = lines(&job.path(name));
        lines.sort_by_key(ToString::to_string);
        lines
    };
    assert_eq!(sorted("one.jsonl"), sorted("two.jsonl"));
    // Nothing is computed again by any number of ranks.
    let again = succeed(&job, &[&search[..], &["--evaluations", "one.jsonl"]].concat());
    assert_eq!(again, one);
    assert_eq!(lines(&job.path("one.jsonl")).len(), lines(&job.path("two.jsonl")).len());
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<i32> {
    let all = fs::read_dir("/proc").expect("lists").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(of_parent).collect()
}

#[test]
fn a_rank_that_dies_ends_the_job_and_names_the_last_checkpoint() {
    let job = training();
    let long = ["train", "train.toml", "--steps", "100000", "--out", "long"];
    let mut command = mpirun(&job, 2, &long);
    let mpirun = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    let until = Instant::now() + Duration::from_secs(60);
    while !job.path("long/checkpoints/step-00000004").is_dir() {
        assert!(Instant::now() < until, "there is no checkpoint");
        thread::sleep(Duration::from_millis(20));
    }
    let ranks = children(mpirun.id());
    assert_eq!(ranks.len(), 2, "{ranks:?}");
    let last = ranks.into_iter().max().expect("two");
    let killed = Command::new("kill").args(["-KILL", &last.to_string()]).status();
    assert!(killed.expect("kills").success());
    let began = Instant::now();
    let output = mpirun.wait_with_output().expect("ends");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!output.status.success() || output.status.signal().is_some());
    let stderr = texts(&output).1;
    assert!(stderr.contains("rank 1"), "{stderr}");
    assert!(stderr.contains("continues from long/checkpoints/step-"), "{stderr}");
}

#[test]
fn what_ranks_cannot_do_together_is_refused_once() {
    let job = training();
    for (arguments, expected) in [
        (&["predict", "2-64-128-4-64"][..], "several ranks do `search`, `train` and `finetune`"),
        (&["train", "train.toml", "--text", "missing.txt"], "missing.txt"),
    ] {
        let output = mpirun(&job, 2, arguments).output().expect("mpirun starts");
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stdout, "");
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}
