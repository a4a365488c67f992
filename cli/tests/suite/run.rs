//! The main job from end to end on a small SuperPLM.

use std::collections::HashSet;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::job::Job;

fn lines(job: &Job, name: &str) -> Vec<String> {
    let text = fs::read_to_string(job.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The steps of the job as `--plan` has them, and what of each is there.
fn planned(job: &Job) -> Vec<(String, String)> {
    let csv = job.succeeds(&["run", "job.toml", "--plan", "--format", "csv"]);
    assert!(csv.starts_with("step,place,state,"), "{csv}");
    let cells = |line: &str| {
        let mut cells = line.split(',').map(str::to_owned);
        (cells.next().unwrap_or_default(), cells.nth(1).unwrap_or_default())
    };
    csv.lines().skip(1).map(cells).collect()
}

#[test]
fn the_main_job_leaves_a_bundle_and_a_report_and_is_not_redone() {
    let job = Job::new();
    // A plan asks nobody and writes nothing.
    assert!(planned(&job).iter().all(|(_, state)| state == "new"), "{:?}", planned(&job));
    assert!(!job.path("out").exists());
    let summary = job.succeeds(&["run", "job.toml"]);
    assert!(planned(&job).iter().all(|(_, state)| state == "kept"), "{:?}", planned(&job));
    for row in ["winner", "predicted", "measured", "speed-up", "bundle", "report"] {
        assert!(summary.lines().any(|line| line.starts_with(row)), "no {row} in\n{summary}");
    }
    let report = job.report();
    let number = |pointer: &str| {
        report
            .pointer(pointer)
            .and_then(serde_json::Value::as_f64)
            .unwrap_or_else(|| panic!("{pointer} is no number in {report:#}"))
    };
    assert!(number("/speedup") > 1.0);
    assert_eq!(report["superplm"]["trained"], false, "its SuperPLM was made of random weights");
    assert!(number("/measured_ms") > 0.0 && number("/predicted_ms") > 0.0);
    assert_eq!(number("/predictor/measured"), 12.0);
    for key in ["mape", "within_10", "tau", "noise_floor"] {
        number(&format!("/predictor/{key}"));
    }
    for key in ["candle_tract", "candle_ort", "tract_ort"] {
        assert!(number(&format!("/parity/{key}")) < 1e-4);
    }
    let winner = report["winner"].as_str().expect("an id").to_owned();
    for name in ["model.onnx", "config.json", "vocab.txt", "report.json", "README.md"] {
        assert!(job.path("out/bundle").join(name).is_file(), "no {name}");
    }
    let card = fs::read_to_string(job.path("out/bundle/README.md")).expect("a card");
    assert!(card.starts_with(&format!("# {winner}")), "{card}");

    let page = fs::read_to_string(job.path("out/report/index.html")).expect("a page");
    assert!(page.contains(&format!("<h1>{winner}</h1>")), "{page}");
    let figures = fs::read_to_string(job.path("out/report/figures.json")).expect("figures");
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(figures["winner"]["measured_ms"], report["measured_ms"]);
    assert_eq!(figures["predictions"].as_array().map(Vec::len), Some(12));
    // Made again from the files alone, it is the same.
    job.succeeds(&["report", "out"]);
    assert_eq!(fs::read_to_string(job.path("out/report/index.html")).expect("a page"), page);

    // Nothing has changed: nothing is measured, evaluated or written again.
    let measured = lines(&job, "out/measurements.jsonl");
    let evaluated = lines(&job, "out/evaluations.jsonl");
    let modified =
        |name: &str| fs::metadata(job.path(name)).and_then(|m| m.modified()).expect(name);
    let exported = modified("out/bundle/model.onnx");
    assert_eq!(job.succeeds(&["run", "job.toml"]), summary);
    assert_eq!(lines(&job, "out/measurements.jsonl"), measured);
    assert_eq!(lines(&job, "out/evaluations.jsonl"), evaluated);
    assert_eq!(modified("out/bundle/model.onnx"), exported);

    // Another budget: the measurements and the predictor are kept, the rest follows.
    job.change("speedup = 120.0", "speedup = 240.0");
    for (step, state) in planned(&job) {
        let kept = step == "profile" || step == "fit";
        assert_eq!(state == "kept", kept, "{step} is {state}");
    }
    job.succeeds(&["run", "job.toml"]);
    assert_eq!(lines(&job, "out/measurements.jsonl"), measured);
    let budget_ms = job.report()["budget_ms"].as_f64().expect("a number");
    assert!((budget_ms / number("/budget_ms") - 0.5).abs() < 1e-6);
}

#[test]
fn a_killed_run_continues_without_losing_or_repeating_a_measurement() {
    let job = Job::new();
    let mut kills = 0;
    // Killed at a later and later moment until it gets through.
    for delay_ms in (60..).step_by(130) {
        let mut child = job
            .command(&["run", "job.toml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("atb starts");
        thread::sleep(Duration::from_millis(delay_ms));
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        child.kill().expect("kills");
        child.wait().expect("waits");
        kills += 1;
        if lines(&job, "out/measurements.jsonl").len() > 10 {
            break;
        }
    }
    assert!(kills > 0, "the run was over before it was killed once");
    job.succeeds(&["run", "job.toml"]);
    let keys: Vec<String> = lines(&job, "out/measurements.jsonl")
        .iter()
        .skip(1)
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).expect("a record");
            format!("{} {}", record["subject"], record["role"])
        })
        .collect();
    let distinct: HashSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "something was measured twice: {keys:?}");
    assert_eq!(keys.len(), 12 + 2 + 1);
}

#[test]
fn a_job_that_ships_integers_measures_integers_and_plans_by_them() {
    let job = Job::new();
    let phone = "name = \"no-phone\"\n[transport]\nkind = \"simulated\"\n";
    fs::write(job.path("phone.toml"), phone).expect("writes");
    job.change("output = \"out\"", "output = \"out\"\ntarget = \"phone.toml\"");
    // Integers are faster than the floating point of the baseline.
    job.change_more("speedup = 120.0", "speedup = 240.0");
    job.change_more("[search]", "[export]\nprecision = \"int8\"\n\n[search]");
    job.succeeds(&["run", "job.toml"]);
    assert!(planned(&job).iter().all(|(_, state)| state == "kept"), "{:?}", planned(&job));
    for name in ["measurements.jsonl", "finalists.jsonl", "check.jsonl"] {
        let text = fs::read_to_string(job.path("out").join(name)).expect("measured");
        let header = text.lines().next().expect("a header");
        let header: serde_json::Value = serde_json::from_str(header).expect("JSON");
        assert_eq!(header["protocol"]["precision"], "int8", "{name}");
    }
}

#[test]
fn the_main_job_for_a_simulated_phone_comes_to_its_end_and_says_that_there_is_none() {
    let job = Job::new();
    let phone = "name = \"no-phone\"\nthreads = 2\n[transport]\nkind = \"simulated\"\n";
    fs::write(job.path("phone.toml"), phone).expect("writes");
    job.change("output = \"out\"", "output = \"out\"\ntarget = \"phone.toml\"");
    let summary = job.succeeds(&["run", "job.toml"]);
    let mark = "a cost model made these numbers, no device";
    let marked =
        |text: &str| text.lines().any(|line| line.starts_with("simulated") && line.contains(mark));
    assert!(marked(&summary), "{summary}");
    let report = job.report();
    assert_eq!(report["flags"], serde_json::json!(["simulated"]));
    let warnings = report["warnings"].as_array().expect("warnings");
    let warned = |warning: &serde_json::Value| warning.as_str().is_some_and(|w| w.contains(mark));
    assert!(warnings.iter().any(warned), "{warnings:?}");
    // The cost model knows the exported file by its architecture, so that only its noise is
    // between what was predicted and what was measured.
    let error = report["prediction_error"].as_f64().expect("a number");
    assert!(error.abs() < 0.05, "{error}");
    let bundle = fs::read_to_string(job.path("out/bundle/report.json")).expect("a report");
    let bundle: serde_json::Value = serde_json::from_str(&bundle).expect("JSON");
    assert_eq!(bundle["latency"][0]["engine"], "simulated");
    let card = fs::read_to_string(job.path("out/bundle/README.md")).expect("a card");
    assert!(card.contains("latency on no-phone (simulated)"), "{card}");
    // The threads are those of the target file.
    for name in ["measurements.jsonl", "finalists.jsonl", "check.jsonl"] {
        let text = fs::read_to_string(job.path("out").join(name)).expect("measured");
        let header = text.lines().next().expect("a header");
        let header: serde_json::Value = serde_json::from_str(header).expect("JSON");
        assert_eq!(header["protocol"]["threads"], 2, "{name}");
        assert_eq!(header["device"]["simulated"], true, "{name}");
    }

    let bench = ["bench", "out/bundle/model.onnx", "--target", "phone.toml"];
    let timed = job.succeeds(&bench);
    assert!(marked(&timed), "{timed}");
    let refused = job.fails(&[&bench[..], &["--engine", "ort"]].concat());
    let message = "error: the engine is ONNX Runtime on `no-phone`; expected none on a simulated \
                   device, which has only a cost model\nhint: compare engines on a device";
    assert_eq!(refused, message);
    fs::write(job.path("foreign.onnx"), []).expect("writes");
    let refused = job.fails(&["bench", "foreign.onnx", "--target", "phone.toml"]);
    assert!(refused.contains("foreign.onnx does not say its architecture"), "{refused}");
    assert!(refused.contains("hint: export it with `atb export`"), "{refused}");
}

#[test]
fn every_step_is_a_command_on_the_same_files() {
    let job = Job::new();
    job.space();
    let workload = ["--sequence", "16"];
    let space = ["--space", "space.toml"];
    let profile = ["profile", "--samples", "12", "--retests", "1", "--baseline", "3-96-256-4-96"];
    job.succeeds(&[&profile[..], &space, &workload].concat());
    let uniform = ["profile", "--samples", "4", "--retests", "0", "--sampling", "uniform"];
    job.succeeds(
        &[&uniform[..], &["--seed", "9", "-o", "others.jsonl"], &space, &workload].concat(),
    );
    let fit = ["fit", "measurements.jsonl", "--test", "others.jsonl"];
    let metrics = job.succeeds(&[&fit[..], &space].concat());
    for part in ["Kendall tau", "noise floor", "tested on others", "inside the 90 % interval"] {
        assert!(metrics.contains(part), "{metrics}");
    }
    let unknown = job.fails(&["search", "--superplm", "superplm", "--speedup", "2"]);
    assert!(
        unknown.contains("12-768-3072-12-768") && unknown.contains("3-96-256-4-96"),
        "{unknown}"
    );
    let found = job.succeeds(&[
        "search",
        "--superplm",
        "superplm",
        "--speedup",
        "2",
        "--baseline",
        "3-96-256-4-96",
        "--low",
        "0.1",
        "--high",
        "10",
        "--population",
        "3",
        "--generations",
        "2",
        "--top",
        "1",
        "--measure",
        "2",
        "--explain",
    ]);
    for part in ["off by", "most parameters", "largest hidden size", "random", " to +"] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert_eq!(lines(&job, "finalists.jsonl").len(), 1 + 2 * 2);
    let winner = found.lines().nth(1).and_then(|line| line.split_whitespace().next());
    let winner = winner.expect("a winner");
    job.succeeds(&["extract", "--arch", winner, "--superplm", "superplm", "--out", "winner"]);
    job.succeeds(&[&["export", "winner"], &workload[..]].concat());
    let parity = job.succeeds(&["verify", "bundle", "--model", "winner"]);
    assert!(parity.contains("tract - ONNX Runtime"), "{parity}");
    let timed = job.succeeds(&["bench", "bundle/model.onnx"]);
    assert!(timed.contains("speed-up"), "{timed}");
}

#[test]
fn rounds_of_measurements_end_in_a_predictor() {
    let job = Job::new();
    job.space();
    let arguments = [
        "refine",
        "--space",
        "space.toml",
        "--sequence",
        "16",
        "--initial-samples",
        "12",
        "--samples-per-round",
        "2",
        "--max-samples",
        "14",
        "--retests",
        "1",
        "--target-mape",
        "0.01",
        "--baseline",
        "3-96-256-4-96",
    ];
    let former = job.fails(&["refine", "--most", "14"]);
    assert!(former.contains("the option is now called `--max-samples`"), "{former}");
    let rounds = job.succeeds(&arguments);
    assert!(rounds.contains("MAPE of the new ones") && rounds.contains("noise floor"), "{rounds}");
    let measured = lines(&job, "measurements.jsonl");
    assert_eq!(measured.len(), 1 + 14 + 1 + 1);
    // Nothing is measured again, and the same rounds give the same predictor.
    let predictor = fs::read(job.path("predictor.json")).expect("a predictor");
    job.succeeds(&arguments);
    assert_eq!(lines(&job, "measurements.jsonl"), measured);
    assert_eq!(fs::read(job.path("predictor.json")).expect("a predictor"), predictor);
}

#[test]
fn without_python_the_job_completes_and_says_what_was_not_compared() {
    let job = Job::new();
    job.runs_without_python();
    let report = job.report();
    assert!(report["parity"]["candle_ort"].is_null() && report["parity"]["tract_ort"].is_null());
    assert!(report["parity"]["candle_tract"].as_f64().expect("compared") < 1e-4);
    // A busy machine has warnings of its own.
    let warnings = report["warnings"].as_array().expect("warnings");
    let warning = warnings
        .iter()
        .filter_map(|warning| warning.as_str())
        .find(|warning| warning.contains("libonnxruntime"))
        .expect("what was not compared");
    assert!(
        warning.contains(&job.path("empty-cache/onnxruntime").display().to_string()),
        "{warning}"
    );
}

#[test]
fn the_built_in_superplm_needs_nothing_but_the_program() {
    let job = Job::new();
    job.change("superplm = \"superplm\"", "superplm = \"auto\"");
    job.change_more("heads = 4", "heads = 12");
    job.change_more(
        "{ min = 32, max = 96, step = 8 }\n\n",
        "{ min = 36, max = 96, step = 12 }\n\n",
    );
    job.runs_without_python();
    let report = job.report();
    assert_eq!(report["superplm"]["trained"], true);
    let winner: atb_space::Architecture =
        report["winner"].as_str().expect("a winner").parse().expect("an architecture");
    assert_eq!(winner.layers()[0].heads, 12);
}
