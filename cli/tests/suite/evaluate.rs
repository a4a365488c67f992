//! Models on tasks, from the command line.

use serde_json::Value;

use crate::job::Job;

const PAIRS: &str = "first,second,score\n\
    The battery lasts two days.,It runs for two days on one charge.,4.5\n\
    The screen is bright.,A cat sleeps on the sofa.,0\n\
    A cat sleeps.,The cat is asleep on the old red sofa.,4\n";

fn job() -> Job {
    let job = Job::new();
    let task = "name = 'pairs'\nkind = 'similarity'\nfirst = 'first'\nsecond = 'second'\n\
                target = 'score'\nrange = [0, 5]\nsplits = { dev = 'pairs.csv' }\n";
    std::fs::write(job.path("task.toml"), task).expect("writes");
    std::fs::write(job.path("pairs.csv"), PAIRS).expect("writes");
    job
}

#[test]
fn a_table_has_the_static_one_beside_every_model() {
    let job = job();
    let arguments = ["evaluate", "superplm", "--task", "task.toml", "--resamples", "20"];
    let text = job.succeeds(&arguments);
    let models: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("spearman"))
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    assert_eq!(models, ["superplm", "static:superplm", "static-idf:superplm"], "{text}");
}

#[test]
fn the_json_has_scores_intervals_and_paired_differences() {
    let job = job();
    let arguments = [
        "evaluate",
        "superplm",
        "--task",
        "task.toml",
        "--baseline",
        "static:superplm",
        "--resamples",
        "20",
        "--format",
        "json",
    ];
    let text = job.succeeds(&arguments);
    assert_eq!(text, job.succeeds(&arguments));
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["schema"], &json["settings"]["resamples"]), (&1.into(), &20.into()));
    let results = json["results"].as_array().expect("results");
    let [baseline, model, table] = &results[..] else { panic!("{text}") };
    assert_eq!(baseline["model"], "static:superplm");
    assert!(baseline.get("above_baseline").is_none());
    assert_eq!(
        (&model["model"], &table["model"]),
        (&"superplm".into(), &"static-idf:superplm".into())
    );
    let value = |row: &Value| row["scores"][0]["value"].as_f64().expect("a score");
    let difference = model["above_baseline"][0]["value"].as_f64().expect("a difference");
    assert!((difference - (value(model) - value(baseline))).abs() < 1e-12);
    assert_eq!(model["above_baseline"][0]["metric"], "spearman");
}

#[test]
fn wrong_data_is_told_before_a_model_is_run() {
    let job = job();
    std::fs::write(job.path("pairs.csv"), PAIRS.replace("4.5", "45")).expect("writes");
    let message = job.fails(&["evaluate", "superplm", "--task", "task.toml"]);
    assert_eq!(
        message,
        "error: pairs.csv: line 2: the score `45` is not within 0 to 5\n\
         hint: correct the score, or the task's `range`"
    );
    let message = job.fails(&["evaluate", "superplm", "--task", "STS"]);
    assert!(message.starts_with("error: there is no task `STS`\nhint: the tasks are SST-2, "));
    let message =
        job.fails(&["evaluate", "superplm", "--task", "task.toml", "--confidence", "1.5"]);
    assert!(message.contains("--confidence: `confidence` is 1.5"), "{message}");
}
