//! Training as a user runs it: from text to a model folder, and what is refused.

use std::fs;

use atb_superplm::{SuperPlm, extract};
use atb_text::Tokenizer;

use crate::job::{Job, TRAINING};

/// Writes the configuration with one part replaced, which must be there.
fn change(job: &Job, from: &str, to: &str) {
    assert!(TRAINING.contains(from), "the configuration has no `{from}`");
    fs::write(job.path("train.toml"), TRAINING.replacen(from, to, 1)).expect("writes");
}

/// The message of a training that is refused before anything is written.
fn refused(job: &Job, from: &str, to: &str) -> String {
    change(job, from, to);
    let message = job.fails(&["train", "train.toml"]);
    assert!(!job.path("trained").exists(), "{message}");
    message
}

#[test]
fn a_superplm_is_trained_and_one_architecture_of_it_further() {
    let job = Job::training();
    // Interrupted by the time, then continued.
    let stdout = job.succeeds(&["train", "train.toml", "--time-limit", "1ms"]);
    assert!(stdout.contains("checkpoints/step-00000001"), "{stdout}");
    let stdout = job.succeeds(&["train", "train.toml"]);
    assert!(stdout.contains("trained/model") && stdout.contains("4 (all are made)"), "{stdout}");
    assert!(stdout.contains("2-64-128-4-64  held-out loss "), "{stdout}");
    let metrics = fs::read_to_string(job.path("trained/metrics.jsonl")).expect("metrics");
    assert_eq!(metrics.lines().filter(|line| line.contains("\"step\",\"step\"")).count(), 4);

    let further = ["train", "train.toml", "--start", "trained/model", "--out", "further"];
    let arch = ["--size", "2-64-128-4-64", "--arch", "1-48-96-4-32", "--steps", "2"];
    let stdout = job.succeeds(&[&further[..], &arch].concat());
    assert!(stdout.contains("1-48-96-4-32  held-out loss "), "{stdout}");
    let model = SuperPlm::load(&job.path("further/model")).expect("loads");
    assert_eq!(model.architecture().id(), "1-48-96-4-32");

    // The built-in SuperPLM as well, by the name that it has everywhere.
    change(&job, "teacher = \"superplm\"", "teacher = \"auto\"\nobjective = \"sentence\"");
    let built_in = ["train", "train.toml", "--start", "auto"];
    let sizes = ["--size", "6-384-1536-12-384", "--arch", "1-128-128-12-180", "--steps", "1"];
    let out = ["--out", "built-in"];
    let stdout = job.succeeds(&[&built_in[..], &sizes, &out].concat());
    assert!(stdout.contains("1-128-128-12-180  held-out loss "), "{stdout}");
}

#[test]
fn a_masked_language_model_is_trained_from_random_weights() {
    let job = Job::training();
    change(&job, "start = \"superplm\"", "start = \"random\"\nobjective = \"mlm\"");
    let stdout = job.succeeds(&["train", "train.toml"]);
    assert!(stdout.contains("4 (all are made)"), "{stdout}");
}

#[test]
fn what_cannot_be_trained_is_refused_before_the_text_is_read() {
    let job = Job::training();
    let message = refused(&job, "text = [\"text.txt\"]", "text = []");
    assert!(message.contains("hint: atb train --text corpus.txt"), "{message}");
    let message = refused(&job, "batch_size = 2", "batch_sizes = 2");
    assert!(
        message.contains("line 8") && message.contains("unknown key `batch_sizes`"),
        "{message}"
    );
    let message = refused(&job, "sequence_length = 16", "sequence_length = 600");
    assert!(message.contains("sequences of 600 tokens, the model takes at most 512"), "{message}");
    let message = refused(&job, "seed = 3", "arch = \"2-64-128-2-32\"");
    assert!(message.contains("2 attention heads, the teacher's last layer 4"), "{message}");
    let message = refused(&job, "size = \"2-64-128-4-64\"", "size = \"4-64-128-4-64\"");
    assert!(message.contains("the number of layers 4 is more than 3"), "{message}");
    let message = refused(&job, "steps = 4", "steps = 0");
    assert!(message.contains("schedule.steps` is 0"), "{message}");
    let message = refused(&job, "start = \"superplm\"", "start = \"nowhere\"");
    assert!(message.contains("nowhere"), "{message}");

    // Another vocabulary than the teacher's.
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tiny"].join("\n");
    fs::create_dir(job.path("words")).expect("creates");
    fs::write(job.path("words/vocab.txt"), words).expect("writes");
    let tokenizer = Tokenizer::from_folder(&job.path("words")).expect("loads");
    let arch = "2-64-128-4-64".parse().expect("an architecture");
    let plm = SuperPlm::random(arch, tokenizer, 1).expect("random");
    extract(&plm, plm.architecture(), &job.path("other")).expect("writes");
    let message = refused(&job, "start = \"superplm\"", "start = \"other\"");
    assert!(message.contains("the two vocabularies differ"), "{message}");
}

#[test]
fn bad_text_and_checkpoints_of_another_training_are_named() {
    let job = Job::training();
    fs::write(job.path("text.txt"), "").expect("writes");
    let message = job.fails(&["train", "train.toml"]);
    assert!(message.contains("text.txt") && message.contains("no text"), "{message}");
    fs::write(job.path("text.txt"), b"one line\nand \xff another\n").expect("writes");
    let message = job.fails(&["train", "train.toml"]);
    assert!(message.contains("text.txt") && message.contains("line 2"), "{message}");

    fs::write(job.path("text.txt"), "A text.\n".repeat(60)).expect("writes");
    job.succeeds(&["train", "train.toml"]);
    change(&job, "learning_rate = 1e-3", "learning_rate = 2e-3");
    let message = job.fails(&["train", "train.toml"]);
    assert!(message.contains("schedule.learning_rate` is 0.001, here it is 0.002"), "{message}");
}
