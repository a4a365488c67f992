//! Bad input gets a message that names what is wrong, and nothing is lost.

use std::fs;

use crate::job::Job;

#[test]
fn mistakes_in_the_configuration_are_named_with_their_line() {
    let job = Job::new();
    job.change("[profile]\nsamples", "[profile]\nsample");
    let message = job.fails(&["run", "job.toml"]);
    assert!(message.contains("job.toml") && message.contains("line 20"), "{message}");
    assert!(
        message.contains("unknown key `profile.sample`")
            || message.contains("unknown key `sample`"),
        "{message}"
    );
    job.change("speedup = 120.0", "speedup = \"fast\"");
    let message = job.fails(&["run", "job.toml"]);
    assert!(message.contains("line 15") && message.contains("expected a number"), "{message}");
    assert!(job.fails(&["run", "absent.toml"]).contains("absent.toml"));
    assert!(!job.path("out").exists());
}

#[test]
fn mistakes_on_the_command_line_end_with_status_1() {
    let job = Job::new();
    let message = job.fails(&["extract", "--arch", "2-64-128-5-64", "--out", "x"]);
    assert!(message.contains("5 attention heads do not divide the q|k|v size 64"), "{message}");
    let message = job.fails(&["extract", "--arch", "2-64-128-4", "--out", "x"]);
    assert!(message.contains("has 4 parts"), "{message}");
    job.fails(&["optimise"]);
    let message = job.fails(&["profile", "--target", "phone"]);
    assert!(message.contains("there is no target `phone`"), "{message}");
    let message = job.fails(&["profile", "--space", "moon"]);
    assert!(message.contains("moon"), "{message}");
}

#[test]
fn settings_of_a_search_are_checked_before_anything_is_loaded() {
    let job = Job::new();
    // There is no predictor, which would be the next thing to be missed.
    let calls: &[&[&str]] = &[
        &["--population", "0", "--confidence-level", "1"],
        &["job.toml", "--strategy", "guided"],
        &["--level", "0.9"],
        &["--against", "12-768-3072-12-768"],
        &["--low", "2"],
        &["job.toml", "--latency-ms=-1"],
        &["--measure", "1001"],
    ];
    let told = |call: &&[&str]| job.fails(&[&["search"][..], call].concat());
    let messages: Vec<String> = calls.iter().map(told).collect();
    insta::assert_snapshot!(messages.join("\n"), @r"
    error: --confidence-level: `budget.confidence_level` is 1, expected 0 to below 1
      --population: `search.population` is 0, expected 1 to 100000
    hint: change the value, or leave the flag out to take its default
    error: --strategy: `guided` is now called `surrogate-assisted`
    hint: write `surrogate-assisted` instead
    error: invalid value '0.9' for '--level <FORMER_LEVEL>': the option is now called `--confidence-level`

    For more information, try '--help'.
    error: invalid value '12-768-3072-12-768' for '--against <FORMER_AGAINST>': the option is now called `--baseline`

    For more information, try '--help'.
    error: --low: `budget.low` is 2, expected at most `high`, 1.1
    hint: change the value, or leave the flag out to take its default
    error: --latency-ms: `budget.latency_ms` is -1, expected above 0 to 1000000000
    hint: change the value, or leave the flag out to take its default
    error: --measure: `finalists` is 1001, expected 1 to 1000
    hint: change the value, or leave the flag out to take its default
    ");
    // An option takes the place of the file's other form of the budget.
    let message = job.fails(&["search", "job.toml", "--latency-ms", "4"]);
    assert!(message.contains("predictor.json"), "{message}");
    let help = job.succeeds(&["search", "--help"]);
    assert!(help.contains("- surrogate-assisted: ") && !help.contains("guided"), "{help}");
}

#[test]
fn settings_of_rounds_are_checked_before_anything_is_measured() {
    let job = Job::new();
    let told = |call: [&str; 4]| job.fails(&[&["refine"][..], &call].concat());
    let messages = [
        told(["--initial-samples", "0", "--samples-per-round", "0"]),
        told(["--max-samples", "0", "--target-mape", "nan"]),
        told(["--around", "0", "--seed", "1"]),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    error: --initial-samples: `initial_samples` is 0, expected 1 to 100000
      --samples-per-round: `samples_per_round` is 0, expected 1 to 100000
    hint: change the value, or leave the flag out to take its default
    error: --max-samples: `max_samples` is 0, expected 1 to 100000
      --target-mape: `target_mape` is NaN, expected 0 to 1
    hint: change the value, or leave the flag out to take its default
    error: --around: `latency_ms` is 0, expected above 0 to 1000000000
    hint: change the value, or leave the flag out to take its default
    ");
    assert!(!job.path("measurements.jsonl").exists());
}

#[test]
fn flags_of_a_profile_a_bench_and_an_export_have_the_ranges_of_the_configuration() {
    let job = Job::new();
    let messages = [
        job.fails(&["profile", "--samples", "0", "--retests", "1000000"]),
        job.fails(&["profile", "--threads", "5000", "--batch", "0"]),
        job.fails(&["profile", "--sampling", "designd"]),
        job.fails(&["bench", "model.onnx", "--sequence", "0"]),
        job.fails(&["export", "superplm", "--sequence", "100000"]),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    error: --samples: `samples` is 0, expected 1 to 100000
      --retests: `retests` is 1000000, expected 0 to 100000
    hint: change the value, or leave the flag out to take its default
    error: --batch: `workload.batch` is 0, expected 1 to 1024
      --threads: `threads` is 5000, expected 1 to 1024
    hint: change the value, or leave the flag out to take its default
    error: invalid value 'designd' for '--sampling <SAMPLING>'
      [possible values: designed, uniform]

      tip: a similar value exists: 'designed'

    For more information, try '--help'.
    error: --sequence: `sequence` is 0, expected 1 to 8192
    hint: change the value, or leave the flag out to take its default
    error: --sequence: `sequence` is 100000, expected 1 to 8192
    hint: change the value, or leave the flag out to take its default
    ");
    assert!(!job.path("measurements.jsonl").exists());
}

#[test]
fn an_architecture_outside_the_superplm_is_named() {
    let job = Job::new();
    let message =
        job.fails(&["extract", "--arch", "3-128-256-4-96", "--superplm", "superplm", "--out", "x"]);
    assert!(message.contains("3-128-256-4-96") && message.contains("hidden"), "{message}");
    assert!(!job.path("x").exists());
}

#[test]
fn a_teacher_that_cannot_be_had_is_named_with_its_place() {
    let job = Job::new();
    let output = job
        .command(&["extract", "--arch", "2-128-256-12-180", "--superplm", "teacher", "--out", "x"])
        .env("PATH", job.path("no-programs"))
        .env("ATB_CACHE", job.path("cache"))
        .output()
        .expect("atb starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("hint: put model.safetensors"), "{stderr}");
    assert!(stderr.contains(&job.path("cache/teacher").display().to_string()), "{stderr}");
    assert!(!job.path("x").exists());
}

#[test]
fn a_budget_that_nothing_meets_gives_the_nearest_latency() {
    let job = Job::new();
    job.change("speedup = 120.0", "latency_ms = 1e9");
    let message = job.fails(&["run", "job.toml"]);
    assert!(message.contains(" ms") && message.contains("nearest"), "{message}");
    // What was measured on the way is kept.
    let measured = fs::read_to_string(job.path("out/measurements.jsonl")).expect("measured");
    assert_eq!(measured.lines().count(), 1 + 12 + 2 + 1);
    job.change("speedup = 120.0", "speedup = 150.0");
    job.succeeds(&["run", "job.toml"]);
    assert_eq!(fs::read_to_string(job.path("out/measurements.jsonl")).expect("kept"), measured);
}

#[test]
fn damaged_checkpoints_are_named() {
    let job = Job::new();
    let weights = job.path("superplm/model.safetensors");
    let whole = fs::read(&weights).expect("weights");
    fs::write(&weights, &whole[..whole.len() - 1000]).expect("writes");
    let message = job.fails(&["run", "job.toml"]);
    assert!(message.contains("model.safetensors"), "{message}");

    // A tensor under another name is a missing one; the names have the same length.
    let name = b"encoder.layer.1.attention.self.key.weight";
    let renamed = b"encoder.layer.1.attention.self.kay.weight";
    let at = whole.windows(name.len()).position(|window| window == name).expect("the tensor");
    let mut missing = whole.clone();
    missing[at..at + name.len()].copy_from_slice(renamed);
    fs::write(&weights, &missing).expect("writes");
    let message = job.fails(&["run", "job.toml"]);
    assert!(message.contains("encoder.layer.1.attention.self.kay.weight"), "{message}");
    assert!(message.contains("not one of a BERT whose config.json has 3 layers"), "{message}");

    fs::write(&weights, &whole).expect("writes");
    let config = job.path("superplm/config.json");
    let text = fs::read_to_string(&config).expect("a config");
    let wider = text
        .replace("\"intermediate_size\": 256", "\"intermediate_size\": 260")
        .replace("3-96-256-4-96", "3-96-260-4-96");
    fs::write(&config, wider).expect("writes");
    let message = job.fails(&["run", "job.toml"]);
    assert!(message.contains("[256, 96]") && message.contains("[260, 96]"), "{message}");
}

#[test]
fn foreign_files_in_the_output_folder_are_not_touched() {
    let job = Job::new();
    fs::create_dir_all(job.path("out/winner")).expect("creates");
    fs::write(job.path("out/winner/thesis.txt"), "precious").expect("writes");
    let message = job.fails(&["run", "job.toml"]);
    assert!(message.contains("was not made by this run"), "{message}");
    fs::create_dir_all(job.path("notes")).expect("creates");
    fs::write(job.path("notes/thesis.txt"), "precious").expect("writes");
    let message = job.fails(&["export", "superplm", "--out", "notes"]);
    assert!(message.contains("notes"), "{message}");
    assert_eq!(fs::read_to_string(job.path("notes/thesis.txt")).expect("kept"), "precious");
}

#[test]
fn a_bundle_of_another_model_is_refused() {
    let job = Job::new();
    let superplm = ["--superplm", "superplm"];
    job.succeeds(&[&["extract", "--arch", "1-64-128-4-64", "--out", "a"], &superplm[..]].concat());
    job.succeeds(&[&["extract", "--arch", "1-64-128-4-48", "--out", "b"], &superplm[..]].concat());
    job.succeeds(&["export", "a", "--sequence", "160"]);
    let message = job.fails(&["verify", "bundle", "--model", "b"]);
    assert!(message.contains("1-64-128-4-64") && message.contains("1-64-128-4-48"), "{message}");
    let message = job.fails(&["export", "a", "--sequence", "5000"]);
    assert!(message.contains("512 positions"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_and_the_files_stay_readable() {
    let job = Job::new();
    // Every file may grow to 40 kB: measuring fits, writing the weights does not.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 80; exec \"$0\" run job.toml"])
        .arg(env!("CARGO_BIN_EXE_atb"))
        .current_dir(job.path(""))
        .output()
        .expect("sh starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: ") && stderr.contains("File too large"), "{stderr}");
    assert!(!job.path("out/winner").exists());
    job.succeeds(&["run", "job.toml"]);
}

#[test]
fn files_that_cannot_be_used_get_a_message_and_a_remedy() {
    let job = Job::new();
    fs::write(job.path("newer.jsonl"), "{\"schema\": 99}\n").expect("writes");
    fs::write(job.path("notes.jsonl"), "my notes\n").expect("writes");
    fs::write(job.path("empty.jsonl"), "").expect("writes");
    let mut messages = String::new();
    for file in ["newer.jsonl", "notes.jsonl", "empty.jsonl", "absent.jsonl"] {
        messages += &job.fails(&["fit", file, "--out", "predictor.json"]);
        messages += "\n";
    }
    insta::assert_snapshot!(messages);
    assert!(!job.path("predictor.json").exists());
}

#[test]
fn a_cache_that_others_could_fill_is_not_used() {
    let job = Job::new();
    let extract = |variables: &[(&str, &std::path::Path)]| {
        let output = job
            .command(&["extract", "--arch", "2-128-256-12-180", "--superplm", "teacher"])
            .args(["--out", "x"])
            .env_remove("ATB_CACHE")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("HOME")
            .envs(variables.iter().copied())
            .output()
            .expect("atb starts");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let message = extract(&[]);
    assert!(message.contains("ATB_CACHE, XDG_CACHE_HOME and HOME are all unset"), "{message}");
    assert!(message.contains("hint: set ATB_CACHE to a folder of yours"), "{message}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let shared = job.path("shared");
        fs::create_dir(&shared).expect("creates");
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("permits");
        let message = extract(&[("ATB_CACHE", &shared)]);
        assert!(message.contains("other users can write to the cache folder"), "{message}");
        assert!(message.contains("hint: empty it if you do not trust"), "{message}");
    }
}

#[test]
fn what_is_read_and_written_is_logged_on_request_only() {
    let job = Job::new();
    let log = |flags: &[&str]| {
        let output = job.command(&[&["run", "job.toml"], flags].concat()).output();
        let output = output.expect("atb starts");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let quiet = log(&[]);
    assert!(!quiet.contains("INFO") && !quiet.contains("read a file"), "{quiet}");
    let verbose = log(&["-v"]);
    assert!(
        verbose.contains("read a file path=") && verbose.contains("measurements.jsonl"),
        "{verbose}"
    );
    assert!(verbose.contains("a step has ended step=\"fit\" took="), "{verbose}");
    assert!(!verbose.contains("DEBUG"), "{verbose}");
}
