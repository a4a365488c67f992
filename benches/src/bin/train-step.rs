//! Training steps to be timed: what `benches/training/compare.py` runs beside PyTorch.
//!
//! Leaves a training's `metrics.jsonl` in its folder and prints one line of JSON: the speed
//! of a large matrix product on as many threads, which is what a step could reach at best.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use atb_space::Space;
use atb_superplm::{
    Layout, Objective, Schedule, SubModels, SuperPlm, TrainSettings, Training, keep_freed_memory,
    prepare, train,
};
use atb_text::{HELD_OUT, Tokenizer};
use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};

const STUDENT: &str = "4-384-1536-12-384";
const TEACHER: &str = "6-384-1536-12-384";
const ROWS: usize = 16;
const SEQUENCE: usize = 64;

/// Time training steps of a 4-layer, 384-wide BERT distilled from a 6-layer one.
#[derive(Debug, Parser)]
struct Arguments {
    /// What a step trains
    #[arg(value_enum)]
    mode: Mode,
    /// Steps
    #[arg(long, default_value_t = 20)]
    steps: u64,
    /// Empty folder for the training
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// The whole model
    Fixed,
    /// Three sub-models: the largest, the smallest and one of the KD space
    OneShot,
}

fn main() -> Result<()> {
    let Arguments { mode, steps, out } = Arguments::parse();
    keep_freed_memory();
    let tokenizer = Tokenizer::bert_uncased()?;
    let text = out.join("text.txt");
    std::fs::create_dir_all(&out)?;
    std::fs::write(&text, HELD_OUT.repeat(8))?;
    let data = prepare(&[text], &tokenizer, Layout::Packed, SEQUENCE, &out.join("text"), |_| {})?;
    let held_out = tokenizer.encode_batch(["A sentence."], 8)?;
    let teacher = SuperPlm::random(TEACHER.parse()?, tokenizer.clone(), 1)?;
    let start = SuperPlm::random(STUDENT.parse()?, tokenizer, 2)?;
    let arch = start.architecture().clone();
    let sub_models = match mode {
        Mode::Fixed => SubModels::Fixed(arch.clone()),
        Mode::OneShot => SubModels::OneShot {
            space: Space::paper_kd(),
            per_step: 3,
            sandwich: true,
            max_width_probability: 0.0,
        },
    };
    let settings = TrainSettings {
        batch_size: ROWS,
        schedule: Schedule { steps, warmup_steps: 0, learning_rate: 1e-4 },
        checkpoint_every: u64::MAX,
        validate_every: u64::MAX,
        ..TrainSettings::new(sub_models, vec![arch], steps, 3)
    };
    let objective = Objective::distillation(teacher);
    let training = Training { start, objective, data, held_out, settings };
    train(training, &out, |_| ControlFlow::Continue(()))?;
    println!("{}", serde_json::json!({ "product_gflops": product_gflops()? }));
    Ok(())
}

/// The speed of products of 1024 x 1024 matrices on all of rayon's threads, the best of some.
fn product_gflops() -> candle_core::Result<f64> {
    const SIZE: usize = 1024;
    let matrix = |value: f32| Tensor::full(value, (SIZE, SIZE), &Device::Cpu);
    let (a, b) = (matrix(0.5)?, matrix(0.25)?);
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let began = Instant::now();
        std::hint::black_box(a.matmul(&b)?);
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * (SIZE as f64).powi(3) / best / 1e9)
}
