//! Profiles of simulated devices: interrupted, several at once, with models that do not fit.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use atb_measurements::{
    Failure, Flag, Header, MeasurementFile, Protocol, Record, Role, Simulation, Statistics, Subject,
};
use atb_profiler::{Item, Link, Observer, Plan, ProfileError, Silent, profile_over};
use atb_targets::{Connection, Heartbeat, ProcessConnection, TargetError};
use miette::Diagnostic;

use crate::job::Job;

/// A folder with the target file `phone.toml`.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bench = Self { folder };
        bench.target("phone", settings);
        bench
    }

    fn target(&self, name: &str, settings: &str) {
        let text = format!("name = \"{name}\"\n[transport]\nkind = \"simulated\"\n{settings}\n");
        fs::write(self.path(&format!("{name}.toml")), text).expect("writes");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn profile(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atb"));
        command.args(["profile", "--sampling", "uniform", "--seed", "3"]).args(arguments);
        command.current_dir(self.folder.path());
        command
    }

    /// Runs to the end; standard output and standard error.
    fn finish(&self, arguments: &[&str]) -> (String, String) {
        let output = self.profile(arguments).output().expect("starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stderr}");
        (stdout, stderr)
    }
}

fn read(path: &Path) -> MeasurementFile {
    MeasurementFile::read(path).expect("reads")
}

fn names(file: &MeasurementFile) -> Vec<String> {
    let name = |record: &Record| format!("{:?} {}", record.role, record.subject);
    file.records.iter().map(name).collect()
}

fn complete_lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// Numbers that look random and are the same every time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(120), "still no {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Processes of which `text` is an argument.
#[cfg(target_os = "linux")]
fn running(text: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("lists").flatten();
    processes
        .filter(|process| {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(text)
        })
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_host_killed_at_fifty_moments_loses_nothing_and_measures_nothing_twice() {
    // Its agents are told from those of other tests by their seed.
    let seed = std::process::id();
    let bench = Bench::new(&format!("seed = {seed}\npace = 0.005"));
    let arguments = ["--target", "phone.toml", "--samples", "70", "--retests", "9"];
    let mut numbers = Numbers(17);
    let file = bench.path("measurements.jsonl");
    let mut kills = 0;
    while kills < 50 {
        let mut host: Child = bench
            .profile(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        // After up to two more records, and a little later.
        let lines = complete_lines(&file) + numbers.below(3) as usize;
        wait_for("record", || {
            complete_lines(&file) >= lines || host.try_wait().expect("known").is_some()
        });
        thread::sleep(Duration::from_micros(numbers.below(30_000)));
        host.kill().expect("kills");
        if host.wait().expect("ends").success() {
            break;
        }
        kills += 1;
    }
    assert_eq!(kills, 50, "the run was over after {kills} kills");
    let before = read(&file).records.len();
    wait_for("end of the agents", || running(&format!("\"seed\":{seed},")) == 0);
    bench.finish(&arguments);
    let interrupted = read(&file);
    assert!(before > 0 && before < interrupted.records.len(), "{before}");
    let whole = bench.path("whole.jsonl");
    bench.target("phone", "");
    bench.finish(&[&arguments[..], &["--out", "whole.jsonl"]].concat());
    // Exactly what a run without interruptions measures, in the same order.
    assert_eq!(names(&interrupted), names(&read(&whole)));
    let distinct: BTreeSet<String> = names(&interrupted).into_iter().collect();
    assert_eq!(distinct.len(), interrupted.records.len());
    assert_eq!(interrupted.torn, None);
}

/// Stops the agent, without ending it, when the measurement begins of which the number is
/// given, counted from 0.
#[cfg(target_os = "linux")]
struct Freeze<'a> {
    process_id: &'a Path,
    measurement: usize,
    begun: usize,
    lost: Vec<String>,
}

#[cfg(target_os = "linux")]
impl Observer for Freeze<'_> {
    fn ready(&mut self, _: &Header, _: usize, _: usize) {}
    fn begin(&mut self, _: &Item) {
        if self.begun == self.measurement {
            let id = fs::read_to_string(self.process_id).expect("a number");
            let stopped = Command::new("kill").args(["-STOP", id.trim()]).status();
            assert!(stopped.expect("kill starts").success());
        }
        self.begun += 1;
    }
    fn measured(&mut self, _: &Record, _: &Statistics) {}
    fn lost(&mut self, error: &ProfileError) {
        self.lost.push(error.to_string());
    }
    fn gave_up(&mut self, _: &Failure) {}
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_that_stops_answering_is_an_error_and_the_run_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, process_id) = (folder.path().join("m.jsonl"), folder.path().join("agent"));
    // A heartbeat and a timeout that do not make the test wait for long.
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(1),
        ..Heartbeat::default()
    };
    let connect = || {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >\"$0\"; exec \"$1\" agent --simulate '{\"pace\":0.01}'"]);
        command.arg(&process_id).arg(env!("CARGO_BIN_EXE_atb"));
        let connection = ProcessConnection::spawn_with(command, heartbeat)
            .map_err(|cause| TargetError::Start { program: "sh".into(), cause })?;
        Ok(Box::new(connection) as Box<dyn Connection>)
    };
    let link = Link {
        target: "phone".to_owned(),
        connect: Box::new(connect),
        attempts: 0,
        pause: Duration::ZERO,
        onnx_runtime: None,
    };
    let sample = |layers: usize| Item {
        subject: Subject::architecture(
            format!("{layers}-64-128-2-64").parse().expect("an architecture"),
        ),
        role: Role::Sample,
    };
    let plan = Plan::of((1..=5).map(sample).collect());
    let protocol = Protocol::default();

    let mut freeze = Freeze { process_id: &process_id, measurement: 2, begun: 0, lost: Vec::new() };
    let begin = Instant::now();
    let error = profile_over(&link, &protocol, &plan, &file, &mut freeze).expect_err("silence");
    // The limit, and the time that it gets to end by itself.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let help = error.help().expect("a remedy").to_string();
    let error = error.to_string();
    assert!(
        error.contains("while it was to measure 3-64-128-2-64 (nothing was heard of it for 1 s"),
        "{error}"
    );
    assert!(help.contains("run the same command again"), "{help}");
    assert_eq!(freeze.lost, [error]);
    assert_eq!(read(&file).records.len(), 2);
    let id = fs::read_to_string(&process_id).expect("a number");
    assert!(!Path::new("/proc").join(id.trim()).exists(), "the agent is left behind");

    let whole = profile_over(&link, &protocol, &plan, &file, &mut Silent).expect("continues");
    let items = |record: &Record| Item { subject: record.subject.clone(), role: record.role };
    assert_eq!(whole.records.iter().map(items).collect::<Vec<_>>(), plan.items());
}

#[test]
fn several_devices_are_measured_at_once_each_into_its_own_file() {
    let bench = Bench::new("seed = 1");
    bench.target("tablet", "seed = 2\nnoise = 0.002");
    let (stdout, _) = bench.finish(&[
        "--target",
        "phone.toml",
        "--target",
        "tablet.toml",
        "--samples",
        "10",
        "--retests",
        "3",
        "--out",
        "m.jsonl",
    ]);
    let phone = read(&bench.path("m-phone.jsonl"));
    let tablet = read(&bench.path("m-tablet.jsonl"));
    assert_eq!(names(&phone), names(&tablet));
    assert_ne!(phone.records, tablet.records);
    for file in [&phone, &tablet] {
        assert!(file.header.device.simulated);
        assert!(file.records.iter().all(|record| record.flags.contains(&Flag::Simulated)));
        assert!(stdout.contains(&format!("measurements on {}", file.header.target)), "{stdout}");
    }
    assert_eq!(stdout.matches("not trustworthy").count(), 2, "{stdout}");
    assert_eq!(stdout.matches("a cost model made these numbers").count(), 2, "{stdout}");
}

#[test]
fn a_model_that_does_not_fit_is_given_up_and_the_rest_is_measured() {
    // Enough for the samples, too little for BERT-base beside the reference model.
    let bench = Bench::new("memory_mib = 300");
    let arguments = ["--target", "phone.toml", "--within", "4-256-1024-12-252", "--samples", "5"];
    let baseline = ["--retests", "0", "--baseline", "12-768-3072-12-768"];
    let (stdout, stderr) = bench.finish(&[&arguments[..], &baseline].concat());
    let file = read(&bench.path("measurements.jsonl"));
    assert_eq!((file.records.len(), file.failures.len()), (5, 1), "{stderr}");
    assert!(stderr.contains("out of memory: 12-768-3072-12-768 needs"), "{stderr}");
    assert!(stderr.contains("12-768-3072-12-768 was not measured"), "{stderr}");
    assert!(stdout.contains("5 measurements on phone"), "{stdout}");
    // The same command has nothing left to do.
    let modified = || fs::metadata(bench.path("measurements.jsonl")).and_then(|m| m.modified());
    let before = modified().expect("there");
    bench.finish(&[&arguments[..], &baseline].concat());
    assert_eq!(modified().expect("there"), before);
}

#[test]
fn the_cores_of_the_target_file_are_those_measured_on() {
    let bench = Bench::new("");
    let text = "name = \"little\"\ncores = [2]\n[transport]\nkind = \"simulated\"\n";
    fs::write(bench.path("little.toml"), text).expect("writes");
    let arguments = ["--samples", "3", "--retests", "0", "--out", "m.jsonl"];
    bench
        .finish(&[&["--target", "phone.toml", "--target", "little.toml"], &arguments[..]].concat());
    let (big, little) = (read(&bench.path("m-phone.jsonl")), read(&bench.path("m-little.jsonl")));
    assert_eq!(little.header.protocol.cores, [2]);
    let reference_ms = |file: &MeasurementFile| file.reference_ms().expect("measured");
    assert!(reference_ms(&little) > 2.0 * reference_ms(&big));
}

#[test]
fn integers_are_measured_beside_the_same_reference_and_baseline() {
    let bench = Bench::new("");
    let measured = |precision: &str| {
        let file = format!("{precision}.jsonl");
        let arguments = ["--samples", "12", "--retests", "0", "--precision", precision];
        bench.finish(&[&["--target", "phone.toml", "--out", &*file], &arguments[..]].concat());
        read(&bench.path(&file))
    };
    let (floats, integers) = (measured("f32"), measured("int8"));
    let ratio = |record: &Record| atb_measurements::Statistics::of(record).expect("valid").ratio;
    assert_eq!(names(&floats), names(&integers));
    for (float, integer) in floats.records.iter().zip(&integers.records) {
        let share = ratio(integer) / ratio(float);
        match float.role {
            // What speed-ups are quoted against is the same for both.
            Role::Baseline => assert!((0.97..1.03).contains(&share), "{share}"),
            _ => assert!((0.3..0.7).contains(&share), "{}: {share}", float.subject),
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_atb"))
        .args(["fit", "f32.jsonl", "int8.jsonl"])
        .current_dir(bench.folder.path())
        .output()
        .expect("starts");
    let message = String::from_utf8_lossy(&output.stderr).replace("\n", " ");
    assert!(!output.status.success());
    assert!(message.contains("another precision"), "{message}");
}

#[test]
fn memory_can_be_fitted_as_well_and_no_budget_is_taken_for_it() {
    let job = Job::new();
    job.profiles_a_phone();
    let space = ["--space", "space.toml"];
    let fit = ["fit", "measurements.jsonl", "--quantity", "memory", "--out", "memory.json"];
    let output = job.atb(&[&fit[..], &space].concat());
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("predicted MiB"), "{stdout}");
    assert!(stderr.contains("not trustworthy: a cost model made these numbers"), "{stderr}");
    let arch = "2-64-128-4-64";
    let output = job.atb(&["predict", arch, "--predictor", "memory.json"]);
    assert!(output.status.success());
    let table = String::from_utf8_lossy(&output.stdout);
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(warning.contains("fitted on `phone`, simulated: a cost model"), "{warning}");
    let row = table.lines().find(|line| line.starts_with(arch)).expect("a row");
    let predicted: f64 =
        row.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    // The other forms have the same numbers, unrounded.
    let form =
        |form| job.succeeds(&["predict", arch, "--predictor", "memory.json", "--format", form]);
    let json: serde_json::Value = serde_json::from_str(&form("json")).expect("JSON");
    let value = json["predictions"][0]["value"].as_f64().expect("a number");
    assert!((value - predicted).abs() < 5e-4 && json["unit"] == "MiB", "{json}");
    let csv = form("csv");
    assert!(csv.starts_with("architecture,value,low,high,"), "{csv}");
    assert!(csv.contains(&format!("\n{arch},{value},")), "{csv}");
    let markdown = form("markdown");
    assert!(markdown.contains(&format!("\n| {arch} | {predicted:.3} |")), "{markdown}");
    let protocol = read(&job.path("measurements.jsonl")).header.protocol;
    let (arch, vocabulary) = (arch.parse().expect("parses"), protocol.vocabulary);
    let truth =
        Simulation::default().model_kib((&arch, protocol.precision), protocol.workload, vocabulary)
            as f64;
    let error = predicted / (truth / 1024.0) - 1.0;
    assert!(error.abs() < 0.05, "{predicted} MiB, off by {error}");
    let search = ["search", "--predictor", "memory.json", "--superplm", "superplm"];
    let message = job.fails(&[&search[..], &["--latency-ms", "10"]].concat());
    assert!(message.contains("the predictor's quantity is memory"), "{message}");
}
