//! The fused encoder against the graph as tract runs it.

use std::path::Path;

use atb_graph::{Network, NetworkConfig, RandomWeights};
use atb_runtime::{Engine, EnginePath, Inputs, Outputs, Session};
use atb_space::Workload;

fn write(id: &str, batch: usize, sequence: usize, path: &Path) {
    let arch = id.parse().expect(id);
    Network::new(&arch, Workload { batch, sequence }, &NetworkConfig::encoder(500))
        .write(&RandomWeights::new(11), path)
        .expect("writes");
}

fn run(path: &Path, engine: Engine, inputs: &Inputs) -> (Outputs, EnginePath) {
    let mut session = Session::open_with(path, 1, engine).expect("opens");
    let first = session.run(inputs).expect("runs");
    assert_eq!(session.run(inputs).expect("runs again"), first, "a run depends on the one before");
    (first, session.engine_path())
}

/// The largest difference over the tokens whose mask is one, and over the pooler's outputs.
fn difference(one: &Outputs, other: &Outputs, mask: &[i64]) -> f32 {
    let values = |outputs: &Outputs, name: &str| outputs.get(name).expect(name).values.clone();
    let rows = |outputs: &Outputs| -> Vec<f32> {
        let states = values(outputs, "last_hidden_state");
        let hidden = states.len() / mask.len();
        let states = states.chunks_exact(hidden).zip(mask);
        let states = states.filter(|(_, mask)| **mask == 1).flat_map(|(state, _)| state);
        states.copied().chain(values(outputs, "pooler_output")).collect()
    };
    let (one, other) = (rows(one), rows(other));
    one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, |most, d| {
        assert!(!d.is_nan(), "an output is no number");
        f32::max(most, d)
    })
}

#[test]
fn fused_layers_give_what_the_graph_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let mut state = 7u64;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let architectures = [
        ("1-64-96-4-48", 1, 8),
        ("2-64-[96,128]-[2,4]-[32,48]", 2, 8),
        ("3-60-[97,33,128]-[1,3,5]-[17,51,60]", 3, 13),
        ("1-96-200-1-64", 1, 1),
        ("2-132-264-12-192", 4, 37),
        ("1-64-96-2-64", 2, 1),
        ("4-312-600-12-312", 1, 128),
        ("1-20-7-1-3", 2, 130),
    ];
    for (id, batch, sequence) in architectures {
        write(id, batch, sequence, &path);
        let length = batch * sequence;
        let mut inputs = Inputs::of_ids((0..length).map(|_| random(500) as i64).collect());
        for masks in 0..4 {
            for (row, mask) in inputs.attention_mask.chunks_exact_mut(sequence).enumerate() {
                match (masks, row) {
                    (0, _) => mask.fill(1),
                    // Padding after a text, as tokenizers write it; one row is all padding.
                    (1, 0) => {
                        mask.fill(0);
                        mask[..1 + random(sequence as u64) as usize].fill(1);
                    }
                    (1, 1) => mask.fill(0),
                    // Holes, the first token among them.
                    _ => mask.iter_mut().for_each(|value| *value = random(2) as i64),
                }
            }
            let (plain, path_of_plain) = run(&path, Engine::Plain, &inputs);
            assert_eq!(path_of_plain, EnginePath::Plain);
            for engine in [Engine::Tuned, Engine::Fixed] {
                let (ours, way) = run(&path, engine, &inputs);
                let layers = id.split('-').next().and_then(|n| n.parse().ok()).expect(id);
                assert_eq!(way, EnginePath::Fused { layers }, "{id}");
                let most = difference(&plain, &ours, &inputs.attention_mask);
                println!("{id} {batch}x{sequence} {engine:?}: {most:e}");
                assert!(most < 1e-4, "{id} {batch}x{sequence}, {engine:?}: {most}");
            }
        }
    }
}

#[test]
fn a_session_that_ran_a_long_text_runs_a_short_one_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    write("2-64-96-4-48", 2, 40, &path);
    let long = Inputs::of_ids((0..80).collect());
    let mut short = Inputs::of_ids((100..180).collect());
    short.attention_mask[3..40].fill(0);
    short.attention_mask[57..80].fill(0);
    let mut session = Session::open_with(&path, 1, Engine::Tuned).expect("opens");
    let fresh = Session::open_with(&path, 1, Engine::Tuned).expect("opens").run(&short);
    session.run(&long).expect("runs");
    assert_eq!(session.run(&short).expect("runs"), fresh.expect("runs"));
}
