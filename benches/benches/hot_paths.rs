//! What users wait for, one piece at a time: tokenizing, sampling, fitting, predicting, reading
//! measurements, building a graph, loading it, running it, and making a report's page.
//!
//! `cargo bench -p atb-benches --bench hot_paths -- --save-baseline NAME` keeps figures,
//! `-- --baseline NAME` says what changed since, beyond noise. Figures of one machine compare with
//! those of the same only, and with no other work on it.

use std::hint::black_box;
use std::path::Path;

use atb_graph::{Network, NetworkConfig, RandomWeights};
use atb_interface::Inputs;
use atb_measurements::{MeasurementFile, Quantity, Verdict};
use atb_plots::Size;
use atb_predictor::{FitSettings, Observations, Predictor};
use atb_report::{Figures, of_run, page};
use atb_runtime::{Engine, Session};
use atb_space::{Architecture, Sampler, Space, Workload};
use atb_text::Tokenizer;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ARCHITECTURE: &str = "4-192-480-12-192";
const VOCABULARY: usize = 30_522;

fn kept(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn text(criterion: &mut Criterion) {
    let tokenizer = Tokenizer::bert_uncased().expect("the vocabulary");
    let path = kept("assets/text/held-out.txt");
    let text = std::fs::read_to_string(path).expect("the held-out text");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let mut group = criterion.benchmark_group("tokenizer");
    group.throughput(Throughput::Bytes(lines.iter().map(|line| line.len() as u64).sum()));
    group.bench_function("held-out text, 128 tokens a paragraph", |bencher| {
        bencher.iter(|| tokenizer.encode_batch(lines.iter().copied(), 128).expect("encodes"));
    });
    group.finish();
}

fn measurements(criterion: &mut Criterion) {
    let path = kept("examples/measurements.jsonl");
    let mut group = criterion.benchmark_group("measurements");
    group.bench_function("read a file", |bencher| {
        bencher.iter(|| MeasurementFile::read(&path).expect("reads"));
    });
    let file = MeasurementFile::read(&path).expect("reads");
    group.bench_function("verdict", |bencher| {
        bencher.iter(|| Verdict::of(&file).expect("judges"));
    });
    group.finish();
}

fn prediction(criterion: &mut Criterion) {
    let space = Space::paper_kd();
    let mut group = criterion.benchmark_group("prediction");
    group.sample_size(20);
    group.bench_function("sample 1,000 architectures", |bencher| {
        bencher.iter(|| Sampler::new(&space, 1).take(1_000).count());
    });
    let file = MeasurementFile::read(&kept("examples/measurements.jsonl")).expect("reads");
    let observations = Observations::of_quantity(std::slice::from_ref(&file), Quantity::Latency)
        .expect("observations");
    let fit = || Predictor::fit(&observations, &space, &FitSettings::default()).expect("fits");
    group.bench_function("fit and cross-validate", |bencher| bencher.iter(fit));
    let predictor = fit();
    let architectures: Vec<Architecture> = Sampler::new(&space, 2).take(1_000).collect();
    group.bench_function("predict 1,000 with intervals", |bencher| {
        bencher.iter(|| {
            let values = architectures.iter().map(|arch| predictor.predict(black_box(arch)).high);
            values.sum::<f64>()
        });
    });
    group.finish();
}

fn engine(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.onnx");
    let architecture: Architecture = ARCHITECTURE.parse().expect("an architecture");
    let network =
        || Network::new(&architecture, Workload::default(), &NetworkConfig::encoder(VOCABULARY));
    let mut group = criterion.benchmark_group(ARCHITECTURE);
    group.sample_size(20);
    group.bench_function("graph", |bencher| bencher.iter(|| network().skeleton().len()));
    network().write(&RandomWeights::new(1), &file).expect("writes");
    group.bench_function("load", |bencher| {
        bencher.iter(|| Session::open_with(&file, 1, Engine::Fixed).expect("loads"));
    });
    for engine in [Engine::Fixed, Engine::Plain] {
        let mut session = Session::open_with(&file, 1, engine).expect("loads");
        for tokens in [128, 32] {
            let mut inputs = Inputs::of_ids((0..128).map(|at| 1_000 + at * 37).collect());
            inputs.attention_mask[tokens..].fill(0);
            let name = format!("{engine:?}, {tokens} of 128 tokens");
            group.bench_function(name, |bencher| {
                bencher.iter(|| black_box(session.run(&inputs).expect("runs")));
            });
        }
    }
    group.finish();
}

fn report(criterion: &mut Criterion) {
    let text = std::fs::read(kept("docs/example-report/figures.json")).expect("the kept figures");
    let figures: Figures = serde_json::from_slice(&text).expect("figures");
    let mut group = criterion.benchmark_group("report");
    group.bench_function("page", |bencher| bencher.iter(|| page(&of_run(&figures)).len()));
    let document = of_run(&figures);
    let chart = &document.panels[0].plots[0].chart;
    group.bench_function("a plot", |bencher| bencher.iter(|| chart.svg(Size::WIDE).len()));
    group.finish();
}

criterion_group!(benches, text, measurements, prediction, engine, report);
criterion_main!(benches);
