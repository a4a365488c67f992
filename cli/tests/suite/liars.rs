//! Agents that lie: whatever comes from a device, the host neither panics nor hangs, prints nothing
//! that steers a terminal, and writes nothing but its measurement file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use atb_measurements::{DeviceContext, MeasurementFile, Response};

/// Memory that the host may ask for, in KiB.
const MEMORY_KIB: u64 = 4 << 20;

/// Longer than the attempts to reach a device that is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an honest agent says first; of a device with this name.
fn ready(board: &str) -> String {
    let device = DeviceContext { board: Some(board.to_owned()), ..DeviceContext::default() };
    let response = Response::Ready { device: Box::new(device), agent: Box::default() };
    serde_json::to_string(&response).expect("serialises")
}

/// A measured record, `what` instead of its architecture and `samples` of it.
fn measured(what: &str, samples: &str) -> String {
    format!(r#"{{"response":"measured","record":{{"subject":{what},"role":"sample",{samples}}}}}"#)
}

/// Shell scripts, what is wrong with them, and a part of what the host says.
fn liars() -> Vec<(&'static str, String, &'static str)> {
    let says = |lines: &[&str]| {
        let lines: String =
            lines.iter().map(|line| format!("read r; cat <<'END'\n{line}\nEND\n")).collect();
        lines + "read r; exit 0"
    };
    let fine = r#""samples_us":[2.0,2.0],"reference_us":[1.0,1.0]"#;
    let other = measured(r#"{"architecture":"9-64-128-2-64"}"#, fine);
    let elsewhere = measured(r#"{"model":"../../../etc/passwd"}"#, fine);
    let escaped = measured(r#"{"model":"\u001b[2J\u202e"}"#, fine);
    let (ready, named) = (&ready("phone"), &ready("\u{1b}]0;mine\u{7}"));
    let refused = r#"{"response":"failed","subject":"\u001b[2J","message":"\u009b2J\u202e"}"#;
    let huge = r#"{"response":"ready","device":{"memory_kib":1e400},"agent":{}}"#;
    vec![
        ("an endless line", "tr '\\0' x </dev/zero".to_owned(), "a line of more than"),
        ("a flood of lines", "exec yes '{\"response\":\"ready\"}'".to_owned(), ""),
        ("a flood of ready", format!("exec yes '{ready}'"), ""),
        ("a flood of nothing", "exec yes ''".to_owned(), "empty lines that nobody asked for"),
        ("noise", "exec cat /dev/urandom".to_owned(), ""),
        ("an end at once", "exit 0".to_owned(), "exit status: 0"),
        ("escape codes as last words", "printf '\\033[2J\\007' >&2; exit 1".to_owned(), "u{1b}[2J"),
        ("a flood of last words", "yes no >&2".to_owned(), ""),
        ("a child that stays", "sleep 30 & exit 3".to_owned(), "exit status: 3"),
        ("escape codes in a line", "printf '\\033[2J\\n'; read r".to_owned(), "u{1b}[2J"),
        ("escape codes in names", says(&[named, "?"]), ""),
        ("escape codes in a refusal", says(&[refused]), "u{9b}2J"),
        ("escape codes in a record", says(&[ready, &escaped]), ""),
        ("a number beyond all", says(&[huge]), ""),
        ("twenty thousand brackets", says(&[&"[".repeat(20_000)]), ""),
        ("no object", says(&["7"]), ""),
        ("another architecture", says(&[ready, &other]), "9-64-128-2-64"),
        ("a file of the host", says(&[ready, &elsewhere]), ""),
        ("the wrong answer", says(&[ready, ready]), "not the answer"),
    ]
}

fn listing(folder: &Path) -> BTreeSet<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    fs::read_dir(folder).expect("lists").map(name).collect()
}

/// What is wrong with how the host takes the liar.
fn tried(script: &str, part: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writes");
    write("liar.sh", &format!("#!/bin/sh\n{script}\n"));
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path().join("liar.sh"), permissions).expect("permits");
    write("liar.toml", "name = \"liar\"\nagent = \"liar.sh\"\n[transport]\nkind = \"local\"\n");
    let before = listing(folder.path());
    let (stdout, stderr) =
        (folder.path().with_extension("out"), folder.path().with_extension("err"));
    let create = |path: &Path| fs::File::create(path).expect("creates");
    let mut host = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_atb"))
        .args(["profile", "--target", "liar.toml", "--samples", "10", "--retests", "3"])
        .args(["--out", "m.jsonl"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(create(&stdout))
        .stderr(create(&stderr))
        .spawn()
        .expect("sh starts");
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = host.try_wait().expect("a child") {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            host.kill().expect("kills");
            host.wait().expect("ends");
            return Err("it hangs".to_owned());
        }
        thread::sleep(Duration::from_millis(20));
    };
    let read = |path: &Path| {
        let text = String::from_utf8_lossy(&fs::read(path).expect("reads")).into_owned();
        fs::remove_file(path).expect("removes");
        text
    };
    let said = read(&stdout) + &read(&stderr);
    let wrong = |what: &str| Err(format!("{what} ({status}):\n{said:?}"));
    if status.code() != Some(1) {
        return wrong("another end");
    }
    if !said.contains("error: ") || !said.contains(part) {
        return wrong(&format!("no message with `{part}`"));
    }
    if said.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}') {
        return wrong("control characters");
    }
    let left: Vec<String> = listing(folder.path()).difference(&before).cloned().collect();
    if left.iter().any(|name| name != "m.jsonl") {
        return wrong(&format!("it leaves {left:?}"));
    }
    let file = folder.path().join("m.jsonl");
    match file.exists().then(|| MeasurementFile::read(&file)) {
        Some(Err(error)) => wrong(&format!("a damaged file: {error}")),
        Some(Ok(file)) if !file.records.is_empty() => wrong("it kept a record"),
        _ => Ok(()),
    }
}

#[test]
fn a_device_that_lies_decides_nothing_over_the_host() {
    let wrong: Vec<String> = thread::scope(|scope| {
        let trials: Vec<_> = liars()
            .into_iter()
            .map(|(about, script, part)| (about, scope.spawn(move || tried(&script, part))))
            .collect();
        let result = |(about, trial): (&str, thread::ScopedJoinHandle<'_, Result<(), String>>)| {
            let problem = trial.join().expect("tried").err()?;
            Some(format!("{about}: {problem}"))
        };
        trials.into_iter().filter_map(result).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
