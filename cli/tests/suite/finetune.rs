//! Fine-tuning from the command line: train, evaluate, export; and what is refused.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::job::Job;

const TASK: &str = "name = 'mood'\nkind = 'classification'\nlabels = ['bad', 'good']\n\
                    first = 'text'\ntarget = 'label'\nmetrics = ['accuracy']\n\
                    splits = { train = 'train.csv', dev = 'dev.csv' }\n";

/// Rows whose label hangs on one word, from the `first` on.
fn rows(first: usize, count: usize) -> String {
    let mut rows = "text,label\n".to_owned();
    for row in first..first + count {
        let (word, label) = if row % 2 == 0 { ("awful", "bad") } else { ("splendid", "good") };
        let _ = writeln!(rows, "the {word} phone of {row} days,{label}");
    }
    rows
}

fn job() -> Job {
    let job = Job::new();
    fs::write(job.path("mood.toml"), TASK).expect("writes");
    fs::write(job.path("train.csv"), rows(0, 120)).expect("writes");
    fs::write(job.path("dev.csv"), rows(500, 40)).expect("writes");
    job
}

const FINETUNE: [&str; 13] = [
    "finetune",
    "superplm",
    "--arch",
    "2-64-128-4-64",
    "--task",
    "mood.toml",
    "--epochs",
    "4",
    "--learning-rate",
    "2e-3",
    "--batch-size",
    "8",
    "--out",
];

#[test]
fn a_model_is_trained_evaluated_and_exported() {
    let job = job();
    let stdout = job.succeeds(&[&FINETUNE[..], &["tuned"]].concat());
    assert!(stdout.contains("accuracy 100.00 on 24 held-out examples"), "{stdout}");
    assert!(stdout.contains("mood dev"), "{stdout}");
    assert!(!job.path("tuned.partial").exists());
    let config: Value =
        serde_json::from_str(&fs::read_to_string(job.path("tuned/config.json")).expect("reads"))
            .expect("JSON");
    assert_eq!(config["finetuning_task"], "mood");
    assert_eq!(config["id2label"], serde_json::json!({ "0": "bad", "1": "good" }));
    assert_eq!(config["architectures"][0], "BertForSequenceClassification");

    // The score is the one that `atb evaluate` gives.
    let report: Value =
        serde_json::from_str(&fs::read_to_string(job.path("tuned/finetune.json")).expect("reads"))
            .expect("JSON");
    let evaluate = ["evaluate", "tuned", "--task", "mood.toml", "--format", "json"];
    let evaluated: Value = serde_json::from_str(&job.succeeds(&evaluate)).expect("JSON");
    assert_eq!(report["seeds"][0]["scores"], evaluated["results"]);
    assert_eq!(evaluated["results"][0]["scores"][0]["value"], 1.0);

    job.succeeds(&["export", "tuned", "--sequence", "16", "--out", "bundle"]);
    let evaluate = ["evaluate", "bundle", "--task", "mood.toml", "--format", "json"];
    let bundle: Value = serde_json::from_str(&job.succeeds(&evaluate)).expect("JSON");
    assert_eq!(bundle["results"][0]["scores"], evaluated["results"][0]["scores"]);

    // Nothing is overwritten, and another task's data is refused by name, in every form.
    let message = job.fails(&[&FINETUNE[..], &["tuned"]].concat());
    assert!(message.starts_with("error: tuned already exists and is not empty"), "{message}");
    fs::write(job.path("mind.toml"), TASK.replace("mood", "mind")).expect("writes");
    for model in ["tuned", "bundle"] {
        let message = job.fails(&["evaluate", model, "--task", "mind.toml"]);
        let expected = format!("error: {model} was fine-tuned on mood, not on mind");
        assert!(message.starts_with(&expected), "{message}");
    }
    let message = job.fails(&["finetune", "tuned", "--task", "mind.toml", "--out", "other"]);
    assert!(message.starts_with("error: tuned was fine-tuned on mood, not on mind"), "{message}");
}

#[test]
fn a_configuration_names_seeds_and_a_teacher() {
    let job = job();
    job.succeeds(&[&FINETUNE[..], &["teacher"]].concat());
    let config = "task = 'mood.toml'\nmodel = 'superplm'\narch = '1-48-96-4-32'\noutput = 'small'\n\
                  teacher = 'teacher'\nseeds = [3, 4]\n\n[training]\nepochs = 2\nbatch_size = 8\n\
                  learning_rate = 2e-3\n";
    fs::write(job.path("finetune.toml"), config).expect("writes");
    let stdout = job.succeeds(&[
        "finetune",
        "finetune.toml",
        "--max-train-samples",
        "64",
        "--format",
        "json",
    ]);
    let report: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&report["examples"], &report["held_out"]), (&64.into(), &24.into()));
    let seeds = report["seeds"].as_array().expect("seeds");
    assert_eq!(seeds.iter().map(|of| &of["seed"]).collect::<Vec<_>>(), [3, 4]);
    assert!(seeds.iter().all(|of| of["epochs"].as_array().is_some_and(|all| all.len() == 2)));
    let metrics = fs::read_to_string(job.path("small/metrics.jsonl")).expect("reads");
    assert!(metrics.contains("\"distillation\":[") && metrics.contains("\"kind\":\"held-out\""));
}

#[test]
fn bad_data_is_told_with_its_row() {
    let job = job();
    let train = |text: &str| {
        fs::write(job.path("train.csv"), text).expect("writes");
        let message = job.fails(&[&FINETUNE[..], &["tuned"]].concat());
        assert!(!job.path("tuned").exists() && !job.path("tuned.partial").exists());
        message
    };
    let message = train(&rows(0, 20).replacen("bad", "sad", 1));
    assert!(message.starts_with("error: train.csv: line 2: the label `sad` is none"), "{message}");
    let message = train("text,label\nfine\n");
    assert!(message.starts_with("error: train.csv: line 2: column 2, `label`"), "{message}");
    let message = train("text,label\n");
    assert!(message.starts_with("error: train.csv: the file holds no examples"), "{message}");
    let message = train("text,label\nfine,good\n");
    assert!(message.starts_with("error: train.csv: 1 examples are too few"), "{message}");
    let message = train(&rows(490, 20));
    assert!(
        message.starts_with("error: dev.csv: line 2: the same as train.csv: line 12"),
        "{message}"
    );
    fs::write(job.path("train.csv"), rows(0, 20)).expect("writes");
    let message = job.fails(&[&FINETUNE[..], &["tuned", "--dropout", "2"]].concat());
    assert!(
        message.starts_with("error: --dropout: `training.dropout` is 2, expected 0 to 0.9"),
        "{message}"
    );
    let message = job.fails(&["finetune", "superplm", "--task", "STS-B-similarity"]);
    assert!(
        message.starts_with("error: there is nothing to train for STS-B-similarity"),
        "{message}"
    );
    let message = job.fails(&["finetune", "superplm"]);
    assert!(message.starts_with("error: task is empty; expected a name"), "{message}");
}
