//! Candidates a second: the whole KD space against a latency budget with the structured
//! predictor, beside the paper's perceptron one architecture at a time and in batches.

use std::hint::black_box;

use atb_benches::models::{Candidate, MlpSettings};
use atb_measurements::Quantity;
use atb_predictor::{
    FitSettings, Kind, Machines, NoiseFloor, Observation, Observations, Predictor, Rows,
};
use atb_search::{Budget, Candidates};
use atb_space::{Architecture, Cost, Range, Sampler, Space, Workload};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Thirty architectures on a device that takes a millisecond for 150 million operations.
fn observations() -> Observations {
    let space = Space::paper_kd();
    let items = Sampler::new(&space, 1).take(30).map(|arch| {
        let value = Cost::flops(&arch, 1, 128) / 1.5e8 + 0.08 * arch.num_layers() as f64;
        Observation {
            workload: Workload::default(),
            value,
            first: value,
            spread: 0.0,
            records: 1,
            arch,
        }
    });
    Observations {
        quantity: Quantity::Latency,
        items: items.collect(),
        baselines: Vec::new(),
        checks: Vec::new(),
        noise: NoiseFloor::default(),
        sources: Vec::new(),
    }
}

fn scans(criterion: &mut Criterion) {
    let observations = observations();
    let space = Space::paper_kd();
    let predictor = Predictor::fit(&observations, &space, &FitSettings::default()).expect("fits");
    let coarse = Space {
        hidden: Range::new(128, 768, 16),
        intermediate: Range::new(128, 3072, 32),
        ..space.clone()
    };
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(10);
    for (name, space) in [("whole KD space", &space), ("the reference's grid", &coarse)] {
        group.throughput(Throughput::Elements(space.count_uniform()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                Candidates::scan(space, &predictor, &Budget::paper(15.0)).expect("some").len()
            });
        });
    }
    group.finish();
}

fn single_predictions(criterion: &mut Criterion) {
    let items = observations().items;
    let archs: Vec<Architecture> = Sampler::new(&Space::paper_kd(), 2).take(16).collect();
    let intermediates: Vec<usize> = Space::paper_kd().intermediate.values().collect();
    let rows = Rows {
        workload: Workload::default(),
        hidden: 512,
        layers: &[4],
        attention: &[(12, 384)],
        intermediates: &intermediates,
    };
    // The speed of a perceptron does not depend on how long it was trained.
    let untrained = Candidate::Perceptron(MlpSettings { steps: 1, ..MlpSettings::PAPER });
    let structured = Candidate::Product(Kind::Structured);
    for (name, kind) in [("structured", structured), ("the paper's perceptron", untrained)] {
        let model = kind.fit(&items, &Machines::default()).expect("fits");
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements(archs.len() as u64));
        group.bench_function("one at a time", |bencher| {
            bencher.iter(|| {
                archs.iter().map(|arch| model.value(black_box(arch), rows.workload)).sum::<f64>()
            });
        });
        group.throughput(Throughput::Elements(intermediates.len() as u64));
        group.bench_function("a batch", |bencher| {
            bencher.iter(|| {
                let mut sum = 0.0;
                model.scan(&rows, &mut |_, _, latencies| sum += latencies.iter().sum::<f64>());
                sum
            });
        });
        group.finish();
    }
}

criterion_group!(benches, scans, single_predictions);
criterion_main!(benches);
