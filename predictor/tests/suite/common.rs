//! A made-up device with known costs, and measurement files of it.

use std::path::{Path, PathBuf};

use atb_measurements::{
    AgentContext, DeviceContext, Header, MeasurementFile, MeasurementWriter, Protocol, Record,
    Role, SCHEMA, Subject,
};
use atb_space::{Architecture, Sampler, Space, Workload};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Rows of the made-up device's matrix kernel: its runtime has another one for long inputs.
fn tile_rows(workload: Workload) -> usize {
    if workload.sequence > 128 { 32 } else { 16 }
}

/// Microseconds that the made-up device takes.
///
/// Its costs are not a sum of the model's features: products of few columns run at a lower
/// speed, and weights beyond a cache cost extra.
pub(crate) fn device_us(arch: &Architecture, workload: Workload) -> f64 {
    let (batch, sequence) = (workload.batch as f64, workload.sequence as f64);
    let tokens = batch * sequence;
    let product = |k: usize, n: usize| {
        let flops = 2.0 * tokens * k as f64 * n.next_multiple_of(tile_rows(workload)) as f64;
        let speed = 40e3 * (1.0 - 4.0 / n as f64);
        flops / speed + if k * n > 700_000 { (k * n) as f64 / 60e3 } else { 0.0 }
    };
    let dm = arch.hidden();
    let mut us = 60.0 + tokens * dm as f64 / 900.0 + (dm * dm) as f64 / 4000.0;
    for layer in arch.layers() {
        us += 3.0 * product(dm, layer.qkv) + product(layer.qkv, dm);
        us += product(dm, layer.intermediate) + product(layer.intermediate, dm);
        let head = layer.head_size().next_multiple_of(6) as f64;
        us += 4.0 * tokens * sequence * layer.heads as f64 * head / 30e3;
        let scores = layer.heads as f64 * tokens * sequence;
        us += scores / 1500.0 + if workload.batch > 1 { scores / 400.0 } else { 0.0 };
        us += tokens * (layer.intermediate as f64 / 800.0 + dm as f64 / 500.0) + 12.0;
    }
    us
}

pub(crate) fn header(workload: Workload) -> Header {
    Header {
        schema: SCHEMA,
        target: "made-up".to_owned(),
        protocol: Protocol { workload, ..Protocol::default() },
        device: DeviceContext { isa: "aarch64".to_owned(), ..DeviceContext::default() },
        agent: AgentContext {
            version: "1".to_owned(),
            runtime: "tract".to_owned(),
            kernel: format!("made_up_{}x6", tile_rows(workload)),
            tile: (tile_rows(workload), 6),
            ..AgentContext::default()
        },
    }
}

/// A record whose paired ratio is off by up to about twice `noise`, its samples by as much.
pub(crate) fn record(
    arch: &Architecture,
    role: Role,
    workload: Workload,
    noise: f64,
    rng: &mut ChaCha8Rng,
) -> Record {
    // The sum of four uniform values is close to normal.
    let mut off = |by: f64| {
        let sum: f64 = (0..4).map(|_| rng.random_range(-1.0..1.0)).sum();
        1.0 + by * sum * 0.75_f64.sqrt()
    };
    let reference = device_us(&Protocol::default().reference, workload);
    let us = device_us(arch, workload) * off(noise);
    let speed: Vec<f64> = (0..15).map(|i| if i < 9 { 1.0 } else { 1.4 }).collect();
    Record {
        samples_us: speed.iter().map(|speed| speed * us * off(noise)).collect(),
        reference_us: speed.iter().map(|speed| speed * reference).collect(),
        ..Record::new(Subject::architecture(arch.clone()), role)
    }
}

pub(crate) fn write(folder: &Path, name: &str, workload: Workload, records: &[Record]) -> PathBuf {
    let path = folder.join(name);
    let (mut writer, _) = MeasurementWriter::open(&path, &header(workload)).expect("begins");
    for record in records {
        writer.append(record).expect("appends");
    }
    path
}

/// A file of `count` samples of `space`, every fifth measured again.
pub(crate) fn measure(space: &Space, count: usize, seed: u64, noise: f64) -> MeasurementFile {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let workload = Workload::default();
    let mut records = Vec::new();
    for (index, arch) in Sampler::new(space, seed).take(count).enumerate() {
        records.push(record(&arch, Role::Sample, workload, noise, &mut rng));
        if index % 5 == 0 {
            records.push(record(&arch, Role::Retest, workload, noise, &mut rng));
        }
    }
    let baseline = Architecture::bert_base();
    records.push(record(&baseline, Role::Baseline, workload, noise, &mut rng));
    MeasurementFile::read(&write(folder.path(), "m.jsonl", workload, &records)).expect("reads")
}

/// What the command line says of an error: the message, and after `hint:` what to do.
pub(crate) fn told(error: &dyn miette::Diagnostic) -> String {
    match error.help() {
        Some(help) => format!("{error}; hint: {help}"),
        None => error.to_string(),
    }
}
