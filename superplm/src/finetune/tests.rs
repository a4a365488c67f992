//! That the composite operations fine-tune as the fused ones do.

use std::path::Path;

use atb_interface::Head;
use atb_ranks::Ranks;
use atb_text::Tokenizer;
use candle_core::Device;

use super::*;
use crate::ops::Engine;
use crate::train::MetricsLine;
use crate::{SuperPlm, TaskHead};

const WORDS: [&str; 11] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "tiny", "model", "##s", "of", "text"];

fn training(root: &Path, head: &str, target: impl Fn(usize) -> Target) -> TaskTraining {
    std::fs::write(root.join("vocab.txt"), WORDS.join("\n") + "\n").expect("writes");
    let tokenizer = Tokenizer::from_folder(root).expect("loads");
    let arch = "2-12-16-4-16".parse().expect("an architecture");
    let row = |number: usize| {
        let length = 4 + number % 3;
        let outputs = if head == "question-answering" { 2 * length } else { 2 };
        Row {
            ids: (0..length).map(|at| ((number * 7 + at * 5) % 11) as i64).collect(),
            types: (0..length).map(|at| i64::from(at > 2)).collect(),
            target: target(number),
            teacher: Some((0..outputs).map(|at| ((number + at) % 5) as f32 / 2.0).collect()),
        }
    };
    let settings = FinetuneSettings {
        epochs: 2,
        batch_size: 4,
        learning_rate: 5e-3,
        dropout: 0.2,
        ..FinetuneSettings::default()
    };
    TaskTraining {
        start: SuperPlm::random(arch, tokenizer, 5).expect("random"),
        head: TaskHead {
            task: "toy".to_owned(),
            head: Head::named(head).expect("a head"),
            labels: ["one", "two"].map(str::to_owned).to_vec(),
        },
        rows: (0..10).map(row).collect(),
        seed: 3,
        settings,
    }
}

/// Losses and gradient norms of all steps.
fn numbers(engine: &Engine, training: TaskTraining, folder: &Path) -> Vec<f64> {
    let mut finetuning =
        Finetuning::begin_on(engine, &Ranks::alone(), training, folder).expect("begins");
    while finetuning.epoch(|_| {}).expect("trains") {
        finetuning.judge("accuracy", Some(0.5)).expect("judges");
    }
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).expect("reads");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line"));
    lines
        .flat_map(|line| match line {
            MetricsLine::Step { terms, gradient_norm, .. } => {
                terms.into_values().flatten().chain([gradient_norm]).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn fine_tuning_by_composite_operations_is_that_by_fused_ones() {
    let root = tempfile::tempdir().expect("a folder");
    let (composite, root) = (Engine::composite(Device::Cpu), root.path());
    let alike = |name: &str, of: &dyn Fn() -> TaskTraining| {
        let fused = numbers(&Engine::cpu(), of(), &root.join(format!("{name}-fused")));
        let found = numbers(&composite, of(), &root.join(format!("{name}-composite")));
        assert_eq!((fused.len(), found.len()), (18, 18), "{name}");
        for (a, b) in fused.iter().zip(&found) {
            assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{name}: {fused:?} {found:?}");
        }
    };
    let label = |number: usize| Target::Label(number % 2);
    alike("labels", &|| training(root, "sequence-classification", label));
    let span = |number: usize| Target::Span { start: number % 2, end: 1 + number % 3 };
    alike("spans", &|| training(root, "question-answering", span));
}
