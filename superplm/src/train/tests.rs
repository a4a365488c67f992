//! That the composite operations train as the fused ones do, and what devices are refused.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use atb_ranks::Ranks;
use atb_space::{Architecture, QkvSize, Range, Space};
use atb_text::Tokenizer;
use candle_core::{Device, Tensor};

use super::trainer::train_on;
use super::*;
use crate::ops::Engine;
use crate::{Dataset, Layout, SuperPlm, prepare};

const WORDS: [&str; 11] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "tiny", "model", "##s", "of", "text"];
const TEACHER: &str = "3-16-24-4-16";
const STUDENT: &str = "2-12-16-4-16";
const STEPS: u64 = 6;

fn arch(id: &str) -> Architecture {
    id.parse().expect(id)
}

/// Everything that [`STUDENT`] contains of four heads, narrower ones among it.
fn one_shot() -> SubModels {
    let space = Space {
        name: "small".to_owned(),
        layers: Range::new(1, 2, 1),
        hidden: Range::new(4, 12, 4),
        intermediate: Range::new(4, 16, 4),
        heads: Range::one(4),
        qkv: QkvSize::Total(Range::new(4, 16, 4)),
        per_layer: true,
    };
    SubModels::OneShot { space, per_step: 3, sandwich: true, max_width_probability: 0.0 }
}

/// A model whose layers do more than to pass on their input.
fn teacher(root: &Path) -> SuperPlm {
    std::fs::write(root.join("vocab.txt"), WORDS.join("\n") + "\n").expect("writes");
    let tokenizer = Tokenizer::from_folder(root).expect("loads");
    let mut plm = SuperPlm::random(arch(TEACHER), tokenizer, 5).expect("random weights");
    for (name, stored) in plm.stored_mut() {
        if !name.contains("LayerNorm") {
            stored.tensor = stored.tensor.affine(12.0, 0.0).expect("scales");
        }
    }
    plm
}

fn data(root: &Path, tokenizer: &Tokenizer) -> Dataset {
    let documents: Vec<String> = (1..=12)
        .map(|n| format!("{}\n{}", "a tiny model of text ".repeat(n), "models text ".repeat(n)))
        .collect();
    let text = root.join("text.txt");
    std::fs::write(&text, documents.join("\n\n")).expect("writes");
    prepare(&[text], tokenizer, Layout::Packed, 16, &root.join("data"), |_| {}).expect("prepares")
}

fn training(root: &Path, distilled: bool) -> Training {
    let teacher = teacher(root);
    let start = teacher.shrink(&arch(STUDENT)).expect("fits");
    let data = data(root, teacher.tokenizer());
    let texts = ["tiny models of tiny text", "a text of models"];
    let held_out = teacher.tokenizer().encode_batch(texts, 12).expect("encodes");
    let objective = match distilled {
        true => Objective::distillation(teacher),
        false => Objective::masked_lm(),
    };
    let settings = TrainSettings {
        batch_size: 3,
        gradient_accumulation_steps: 2,
        schedule: Schedule { steps: STEPS, warmup_steps: 2, learning_rate: 5e-3 },
        checkpoint_every: 3,
        ..TrainSettings::new(one_shot(), vec![arch(STUDENT)], STEPS, 11)
    };
    Training { start, objective, data, held_out, settings }
}

fn run(engine: &Engine, training: Training, folder: &Path) -> Outcome {
    train_on(engine, &Ranks::alone(), training, folder, |_| ControlFlow::Continue(()))
        .expect("trains")
}

/// Losses and gradient norms of the steps, and the losses of the validations.
fn numbers(folder: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).expect("reads");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line"));
    lines
        .flat_map(|line| match line {
            MetricsLine::Header { .. } | MetricsLine::HeldOut { .. } => Vec::new(),
            MetricsLine::Step { losses, gradient_norm, .. } => {
                let losses = losses.into_iter().map(|(_, loss)| loss);
                losses.chain([gradient_norm]).collect()
            }
            MetricsLine::Validation { losses, .. } => {
                losses.into_iter().map(|(_, loss)| loss).collect()
            }
        })
        .collect()
}

fn tensors(file: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(file, &Device::Cpu).expect("loads")
}

/// The largest difference of the values of two files' tensors, each by the largest value of
/// its tensor, and the tensor that has it.
///
/// But for the biases of the keys: they shift all scores of a query alike, which the softmax
/// does not see, so that without a loss on the scores their gradient is rounding alone.
fn largest_difference(a: &Path, b: &Path) -> (f32, String) {
    let (a, b) = (tensors(a), tensors(b));
    assert_eq!(a.len(), b.len());
    let values = |tensor: &Tensor| tensor.flatten_all().and_then(|t| t.to_vec1::<f32>());
    let of_tensor = |(name, a): (&String, &Tensor)| {
        let (a, b) = (values(a).expect("values"), values(&b[name]).expect("values"));
        let largest = a.iter().fold(1e-6_f32, |largest, value| largest.max(value.abs()));
        let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        (difference / largest, name.clone())
    };
    let compared = a.iter().filter(|(name, _)| !name.contains("key.bias"));
    compared.map(of_tensor).max_by(|a, b| a.0.total_cmp(&b.0)).expect("has tensors")
}

/// All steps by the composite operations, on the CPU, beside all by the fused ones.
fn assert_alike(distilled: bool) {
    let root = tempfile::tempdir().expect("temporary folder");
    let [fused, composite] = ["fused", "composite"].map(|name| root.path().join(name));
    let one = run(&Engine::cpu(), training(root.path(), distilled), &fused);
    let other = run(&Engine::composite(Device::Cpu), training(root.path(), distilled), &composite);
    let (losses, expected) = (numbers(&composite), numbers(&fused));
    assert_eq!(losses.len(), expected.len());
    assert!(expected.len() >= STEPS as usize * 4 + 2);
    let furthest = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max);
    println!("losses and gradient norms: {furthest:.1e} apart");
    assert!(furthest < 1e-4, "{losses:?} for {expected:?}");
    for (file, tolerance) in [("model.safetensors", 1e-4), ("optimizer.safetensors", 1e-4)] {
        let (one, other) = (one.checkpoint.join(file), other.checkpoint.join(file));
        let (difference, name) = largest_difference(&one, &other);
        println!("{file}: {difference:.1e} apart, in {name}");
        assert!(difference < tolerance, "{file}: {name} is {difference} off");
    }
    // The model at the end is the last checkpoint's.
    let model = other.model.expect("is complete").join("model.safetensors");
    assert_eq!(largest_difference(&model, &other.checkpoint.join("model.safetensors")).0, 0.0);
}

#[test]
fn distillation_by_composite_operations_is_that_by_fused_ones() {
    assert_alike(true);
}

#[test]
fn masked_language_modelling_by_composite_operations_is_that_by_fused_ones() {
    assert_alike(false);
}

#[test]
fn a_training_goes_on_with_the_other_form_of_the_operations() {
    let root = tempfile::tempdir().expect("temporary folder");
    let [fused, moved] = ["fused", "moved"].map(|name| root.path().join(name));
    run(&Engine::cpu(), training(root.path(), true), &fused);
    let half = |progress: &Progress| match progress.steps {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let composite = Engine::composite(Device::Cpu);
    let outcome = train_on(&composite, &Ranks::alone(), training(root.path(), true), &moved, half)
        .expect("trains");
    assert_eq!((outcome.steps, outcome.stopped), (3, Stopped::Asked));
    let outcome = run(&Engine::cpu(), training(root.path(), true), &moved);
    assert_eq!((outcome.steps, outcome.stopped), (STEPS, Stopped::Completed));
    let last = |folder: &Path| {
        let numbers = numbers(folder);
        numbers[numbers.len() - 1]
    };
    assert!((last(&moved) / last(&fused) - 1.0).abs() < 1e-4);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_is_refused_by_a_program_without_it() {
    let root = tempfile::tempdir().expect("temporary folder");
    let mut training = training(root.path(), false);
    training.settings.accelerator = "cuda".parse().expect("an accelerator");
    let folder = root.path().join("run");
    let error = train(training, &folder, |_| ControlFlow::Continue(())).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "this program was built without CUDA and cannot train on the accelerator `cuda`"
    );
    assert!(!folder.exists(), "nothing was begun");
    assert_eq!("gpu".parse::<Accelerator>(), Err("expected `cpu` or `cuda`".to_owned()));
}
