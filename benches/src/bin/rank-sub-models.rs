//! Whether a SuperPLM ranks architectures as training each of them alone does, which is what
//! one-shot training is for: writes `table.md` and `plot.svg`.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use atb_benches::{choice, plot, write_text};
use atb_measurements::MeasurementFile;
use atb_pipeline::{HeldOutConfig, Weights, steps};
use atb_predictor::{FitSettings, Metrics, Observations, Predictor};
use atb_space::{Architecture, Space};
use atb_superplm::{
    KdFitness, Layout, MetricsLine, Objective, Schedule, SubModels, SuperPlm, TrainSettings,
    Training, prepare, train,
};
use atb_text::Encoded;
use clap::Parser;

/// Compares the losses of sub-models of a SuperPLM with those of the same architectures
/// trained alone. Stopped and started again, it continues.
#[derive(Parser)]
struct Arguments {
    /// Text to train on, one paragraph a line.
    #[arg(long, required = true, num_args = 1..)]
    text: Vec<PathBuf>,
    /// Text for the losses, trained on by neither.
    #[arg(long)]
    held_out: PathBuf,
    /// The SuperPLM, a model folder or `auto`.
    #[arg(long, default_value = "auto")]
    superplm: String,
    /// Measurements that latencies are predicted from.
    #[arg(long, default_value = "benches/predictors/kd/designed.jsonl")]
    measurements: PathBuf,
    /// Latency of the architectures, as a share of that of the whole SuperPLM.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// How far off that latency they may be.
    #[arg(long, default_value_t = 0.015)]
    tolerance: f64,
    /// Number of architectures.
    #[arg(long, default_value_t = 12)]
    count: usize,
    /// Steps that each is trained alone, of 8 sequences of 128 tokens.
    #[arg(long, default_value_t = 400)]
    steps: u64,
    /// Seed of the choice and of the trainings.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the trainings are kept.
    #[arg(long, default_value = "atb-ranking")]
    trainings: PathBuf,
    /// Where table and plot go.
    #[arg(long, default_value = "benches/ranking")]
    folder: PathBuf,
}

/// Tokens per sequence, and sequences per batch.
const SEQUENCE: usize = 128;
const ROWS: usize = 8;
/// Paragraphs of held-out text.
const PARAGRAPHS: usize = 96;
/// Peak learning rate of the trainings alone.
const LEARNING_RATE: f64 = 1e-3;

/// One architecture's losses.
struct Ranked {
    arch: Architecture,
    latency_ms: f64,
    /// As the teacher's leading slices, before any training.
    untrained: f64,
    /// Cut out of the SuperPLM.
    extracted: f64,
    /// Trained alone from the teacher's leading slices.
    alone: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let teacher = Weights::load("teacher")?.plm;
    let plm = Weights::load(&arguments.superplm)?.plm;
    let measured = Observations::from_file(&MeasurementFile::read(&arguments.measurements)?)?;
    let predictor = Predictor::fit(&measured, &Space::paper_kd(), &FitSettings::default())?;
    let space = Space::paper_kd().within(plm.architecture())?;
    let target_ms = arguments.share * predictor.value(plm.architecture());
    let Arguments { tolerance, count, seed, .. } = arguments;
    let chosen = choice::at_latency(&space, &predictor, target_ms, tolerance, count, seed)?;

    let text = HeldOutConfig {
        text: Some(arguments.held_out.clone()),
        sentences: false,
        sequence_length: SEQUENCE,
        paragraphs: PARAGRAPHS,
    };
    let held_out = steps::held_out(&text, &teacher)?;
    let of_superplm = KdFitness::new(&plm, &teacher, &held_out)?;

    let mut ranked = Vec::new();
    for arch in chosen {
        let extracted =
            of_superplm.loss(&arch).with_context(|| format!("{arch} of the SuperPLM"))?;
        let (untrained, alone) = train_alone(&arguments, &arch, &held_out)?;
        let latency_ms = predictor.value(&arch);
        eprintln!("{arch} {latency_ms:.2} ms: extracted {extracted:.4}, alone {alone:.4}");
        ranked.push(Ranked { arch, latency_ms, untrained, extracted, alone });
    }
    ranked.sort_by(|a, b| a.alone.total_cmp(&b.alone));
    write(&arguments, &plm, &ranked)
}

/// The loss of an architecture before and after a training of its own, from the teacher's
/// leading slices and on the text of the SuperPLM.
fn train_alone(
    arguments: &Arguments,
    arch: &Architecture,
    held_out: &Encoded,
) -> Result<(f64, f64)> {
    let teacher = Weights::load("teacher")?.plm;
    let start = teacher.shrink(arch)?;
    let text = arguments.trainings.join("text");
    let data =
        prepare(&arguments.text, teacher.tokenizer(), Layout::Packed, SEQUENCE, &text, |_| {})?;
    let steps = arguments.steps;
    let sub_models = SubModels::Fixed(arch.clone());
    let settings = TrainSettings {
        batch_size: ROWS,
        schedule: Schedule { steps, warmup_steps: steps / 10, learning_rate: LEARNING_RATE },
        checkpoint_every: steps,
        validate_every: steps,
        ..TrainSettings::new(sub_models, vec![arch.clone()], steps, arguments.seed)
    };
    let objective = Objective::distillation(teacher);
    let training = Training { start, objective, data, held_out: held_out.clone(), settings };
    let folder = arguments.trainings.join(arch.id());
    train(training, &folder, |_| ControlFlow::Continue(()))?;

    let path = folder.join("metrics.jsonl");
    let metrics = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut losses = Vec::new();
    for line in metrics.lines() {
        let line = serde_json::from_str(line).with_context(|| path.display().to_string())?;
        if let MetricsLine::Validation { losses: panel, .. } = line {
            losses.extend(panel.into_iter().map(|(_, loss)| loss));
        }
    }
    match losses[..] {
        [untrained, .., alone] => Ok((untrained, alone)),
        _ => bail!("{} does not hold two validations", path.display()),
    }
}

fn write(arguments: &Arguments, plm: &SuperPlm, ranked: &[Ranked]) -> Result<()> {
    let extracted: Vec<f64> = ranked.iter().map(|item| item.extracted).collect();
    let alone: Vec<f64> = ranked.iter().map(|item| item.alone).collect();
    let tau = Metrics::of(&extracted, &alone).context("too few architectures to rank")?.tau;
    let mut text = format!(
        "# Sub-models of a SuperPLM beside the same architectures trained alone\n\n{} \
         architectures of the KD space at {:.0} % of the latency of {}, within {:.1} %, as many \
         of each depth that has any, drawn with seed {}. Alone: {} steps of {} tokens from the \
         teacher's leading slices, peak learning rate {LEARNING_RATE:e}. KD loss on held-out \
         text.\n\nKendall tau of extracted and alone: **{tau:.2}**\n\n| architecture | predicted | \
         untrained | extracted | alone |\n|---|---:|---:|---:|---:|\n",
        ranked.len(),
        100.0 * arguments.share,
        plm.architecture(),
        100.0 * arguments.tolerance,
        arguments.seed,
        arguments.steps,
        ROWS * SEQUENCE,
    );
    for item in ranked {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.2} ms | {:.3} | {:.3} | {:.3} |",
            item.arch, item.latency_ms, item.untrained, item.extracted, item.alone
        );
    }
    std::fs::create_dir_all(&arguments.folder)
        .with_context(|| format!("cannot make {}", arguments.folder.display()))?;
    let points: Vec<(String, f64, f64)> =
        ranked.iter().map(|item| (item.arch.id(), item.alone, item.extracted)).collect();
    plot::scatter(
        &format!("KD loss on held-out text, Kendall tau {tau:.2}"),
        ["trained alone", "cut out of the SuperPLM"],
        &points,
        &arguments.folder.join("plot.svg"),
    )?;
    print!("{text}");
    write_text(&arguments.folder.join("table.md"), &text)
}
