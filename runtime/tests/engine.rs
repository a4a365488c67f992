//! The fused encoder against the graph as tract runs it.

use std::path::Path;

use atb_graph::{
    Layout, Network, NetworkConfig, NetworkHead, RandomWeights, TensorSpec, WeightError, Weights,
};
use atb_interface::{HEADS, WORD_EMBEDDINGS};
use atb_runtime::{Engine, EnginePath, Inputs, Outputs, Session};
use atb_space::{Precision, Workload};

const WORDS: usize = 500;

fn write(id: &str, batch: usize, sequence: usize, config: &NetworkConfig, path: &Path) {
    let arch = id.parse().expect(id);
    Network::new(&arch, Workload { batch, sequence }, config)
        .write(&RandomWeights::new(11), path)
        .expect("writes");
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// An architecture with a feed-forward size, heads and a head size for each layer.
    fn architecture(&mut self) -> (String, usize) {
        let layers = 1 + self.below(3);
        let list = |values: Vec<usize>| match values[..] {
            [value] => value.to_string(),
            _ => format!("{values:?}").replace(' ', ""),
        };
        let heads: Vec<usize> = (0..layers).map(|_| self.one_of(&[1, 2, 3, 5, 12])).collect();
        let sizes = heads.iter().map(|heads| heads * (1 + self.below(33))).collect();
        let inner = (0..layers).map(|_| 1 + self.below(150)).collect();
        let hidden = 4 + self.below(140);
        (format!("{layers}-{hidden}-{}-{}-{}", list(inner), list(heads), list(sizes)), layers)
    }

    fn inputs(&mut self, batch: usize, sequence: usize) -> Inputs {
        Inputs::of_ids((0..batch * sequence).map(|_| self.below(WORDS) as i64).collect())
    }

    /// The masks of a batch, of one of several kinds.
    fn mask(&mut self, kind: usize, inputs: &mut Inputs, sequence: usize) {
        for (row, mask) in inputs.attention_mask.chunks_exact_mut(sequence).enumerate() {
            match (kind, row) {
                (0, _) => mask.fill(1),
                // Padding after a text, as tokenizers write it; one row is all padding.
                (1, 1) => mask.fill(0),
                (1, _) => {
                    mask.fill(0);
                    mask[..1 + self.below(sequence)].fill(1);
                }
                // Holes, the first token among them.
                _ => mask.iter_mut().for_each(|value| *value = self.below(2) as i64),
            }
        }
    }
}

fn open(path: &Path, engine: Engine) -> Session {
    Session::open_with(path, 1, engine).expect("opens")
}

/// Runs twice. The mean of no tokens is no number, and another number here.
fn run(session: &mut Session, inputs: &Inputs) -> Outputs {
    let mut once = || {
        let mut outputs = session.run(inputs).expect("runs");
        let values = outputs.0.iter_mut().flat_map(|output| &mut output.values);
        values.filter(|value| value.is_nan()).for_each(|value| *value = 1e6);
        outputs
    };
    let outputs = once();
    assert_eq!(once(), outputs, "a run depends on the one before");
    outputs
}

/// Runs `path` plainly and fused, on masks of every kind.
fn compare(path: &Path, what: &str, (batch, sequence): (usize, usize), expected: EnginePath) {
    compare_with(&[Engine::Fixed], path, what, (batch, sequence), expected);
}

fn compare_with(
    engines: &[Engine],
    path: &Path,
    what: &str,
    (batch, sequence): (usize, usize),
    expected: EnginePath,
) {
    let mut random = Random(sequence as u64);
    let mut plain = open(path, Engine::Plain);
    assert_eq!(plain.engine_path(), EnginePath::Plain);
    let mut others: Vec<Session> = engines.iter().map(|engine| open(path, *engine)).collect();
    let threads = [2, 3];
    let mut threaded =
        threads.map(|threads| Session::open_with(path, threads, engines[0]).expect("opens"));
    let mut inputs = random.inputs(batch, sequence);
    for kind in 0..4 {
        random.mask(kind, &mut inputs, sequence);
        let reference = run(&mut plain, &inputs);
        for session in &mut others {
            assert_eq!(session.engine_path(), expected, "{what}");
            let difference = reference.largest_difference(&run(session, &inputs));
            assert!(difference < 2e-5, "{what}, {batch}x{sequence}, masks {kind}: {difference}");
        }
        let alone = run(&mut others[0], &inputs);
        for (session, threads) in threaded.iter_mut().zip(threads) {
            assert_eq!(session.engine_path(), expected, "{what}");
            // Every value is computed by one thread, and as by one.
            let exact = run(session, &inputs) == alone;
            assert!(exact, "{what}, {batch}x{sequence}, masks {kind} on {threads} threads");
        }
    }
}

#[test]
fn fused_layers_give_what_the_graph_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let mut all: Vec<(String, usize, usize, usize)> = [
        ("1-64-96-4-48", 1, 1, 8),
        ("2-64-[96,128]-[2,4]-[32,48]", 2, 2, 8),
        ("1-96-200-1-64", 1, 1, 1),
        ("2-132-264-12-192", 2, 4, 37),
        ("1-64-96-2-64", 1, 2, 1),
        ("4-312-600-12-312", 4, 1, 128),
        ("1-20-7-1-3", 1, 2, 130),
    ]
    .map(|(id, layers, batch, sequence)| (id.to_owned(), layers, batch, sequence))
    .into();
    let mut random = Random(7);
    all.extend((0..8).map(|_| {
        let (id, layers) = random.architecture();
        (id, layers, 1 + random.below(4), 1 + random.below(40))
    }));
    for (id, layers, batch, sequence) in all {
        write(&id, batch, sequence, &NetworkConfig::encoder(WORDS), &path);
        let engines = [Engine::Fixed, Engine::Tuned];
        compare_with(&engines, &path, &id, (batch, sequence), EnginePath::Fused { layers });
    }
}

#[test]
fn every_head_gives_what_the_graph_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    for head in &HEADS {
        for (id, layers, batch, sequence) in [
            ("2-64-96-4-48", 2, 2, 24),
            ("3-36-[97,40,33]-[3,2,1]-[51,40,9]", 3, 1, 50),
            ("2-32-40-2-40", 2, 70, 3),
        ] {
            let heads = vec![NetworkHead { head, dense: head.dense, width: 2 }];
            let config = NetworkConfig { heads, ..NetworkConfig::encoder(WORDS) };
            write(id, batch, sequence, &config, &path);
            let what = format!("{id} with {}", head.name);
            compare(&path, &what, (batch, sequence), EnginePath::Fused { layers });
        }
    }
}

/// Random weights as they are after rounding to 8 bits.
struct Rounded;

impl Weights for Rounded {
    fn fill(&self, spec: &TensorSpec, values: &mut [f32]) -> Result<(), WeightError> {
        RandomWeights::new(11).fill(spec, values)?;
        let columns = spec.shape.get(1).copied().unwrap_or(1);
        let of_product = spec.layout == Layout::Transposed && spec.name.starts_with("encoder.");
        let scales = match (of_product, &*spec.name) {
            (true, _) => columns,
            (false, WORD_EMBEDDINGS) => spec.shape[0],
            _ => return Ok(()),
        };
        for index in 0..scales {
            let of_scale =
                |at: &usize| index == if of_product { at % columns } else { at / columns };
            let all: Vec<usize> = (0..values.len()).filter(of_scale).collect();
            let scale = all.iter().fold(0f32, |most, at| most.max(values[*at].abs())) / 127.0;
            all.into_iter().for_each(|at| values[at] = (values[at] / scale).round() * scale);
        }
        Ok(())
    }
}

#[test]
fn a_file_of_integers_gives_what_its_weights_give_in_floating_point() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, floats) = (folder.path().join("model.onnx"), folder.path().join("floats.onnx"));
    for (id, layers, batch, sequence) in [
        ("2-64-[96,128]-[2,4]-[32,48]", 2, 2, 8),
        ("1-96-200-1-64", 1, 1, 1),
        ("3-36-[97,40,33]-[3,2,1]-[51,40,9]", 3, 2, 21),
    ] {
        let config = NetworkConfig::encoder(WORDS);
        let arch = id.parse().expect(id);
        let workload = Workload { batch, sequence };
        Network::new(&arch, workload, &config).write(&Rounded, &floats).expect("writes");
        let config = NetworkConfig { precision: Precision::Int8, ..config };
        write(id, batch, sequence, &config, &path);
        let mut reference = open(&floats, Engine::Fixed);
        let [mut plain, mut session, mut tuned, mut fixed] =
            [Engine::Plain, Engine::Integers, Engine::Tuned, Engine::Fixed]
                .map(|engine| open(&path, engine));
        for session in [&session, &tuned, &fixed] {
            assert_eq!(session.engine_path(), EnginePath::Fused { layers });
        }
        assert_eq!(plain.engine_path(), EnginePath::Plain);
        let integers = session.kernel().expect("a kernel").name;
        assert!(integers.contains("i32"), "{integers}");
        let mut random = Random(3);
        let mut inputs = random.inputs(batch, sequence);
        for kind in 0..4 {
            random.mask(kind, &mut inputs, sequence);
            let exact = run(&mut reference, &inputs);
            let outputs = run(&mut session, &inputs);
            // Activations are rounded; outputs are around one.
            let difference = outputs.largest_difference(&exact);
            assert!((1e-5..0.05).contains(&difference), "{id}, masks {kind}: {difference}");
            // The graph rounds them by the largest of all tokens.
            let in_graph = run(&mut plain, &inputs).largest_difference(&exact);
            assert!((1e-4..0.1).contains(&in_graph), "{id}, masks {kind}: {in_graph}");
            for session in [&mut tuned, &mut fixed] {
                let difference = match &*session.kernel().expect("a kernel").name {
                    name if name.contains("i32") => 0.05,
                    _ => 2e-5,
                };
                let found = run(session, &inputs).largest_difference(&exact);
                assert!(found < difference, "{id}, masks {kind}: {found}");
            }
            for threads in [2, 3] {
                let mut threaded =
                    Session::open_with(&path, threads, Engine::Integers).expect("opens");
                assert!(run(&mut threaded, &inputs) == outputs, "{id} on {threads} threads");
            }
        }
    }
}

/// A small model with every occurrence of some bytes replaced by others of the same length.
fn altered(path: &Path, from: &[u8], to: &[u8]) {
    write("2-64-96-4-48", 2, 24, &NetworkConfig::encoder(WORDS), path);
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(path).expect("reads");
    let mut found = 0;
    for start in 0..=bytes.len() - from.len() {
        if bytes[start..].starts_with(from) {
            bytes[start..start + from.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "the model has no such bytes");
    std::fs::write(path, bytes).expect("writes");
}

#[test]
fn what_is_no_encoder_layer_runs_as_the_graph_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let root = std::f32::consts::SQRT_2.to_le_bytes();
    for (what, from, to) in [
        ("another activation", &b"Erf"[..], &b"Sin"[..]),
        ("another scale in the activation", &root, &1.5f32.to_le_bytes()),
    ] {
        altered(&path, from, to);
        compare(&path, what, (2, 24), EnginePath::Plain);
    }
}

#[test]
fn padding_that_counts_is_computed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    for (what, from, to) in [
        // A weak mask: padding has a share in everything.
        ("a weak mask", &(-10_000f32).to_le_bytes()[..], &(-1f32).to_le_bytes()[..]),
        // Nobody knows what an output of this name is for.
        ("another output", b"last_hidden_state", b"last_hidden_what?"),
    ] {
        altered(&path, from, to);
        compare(&path, what, (2, 24), EnginePath::Fused { layers: 2 });
    }
}

#[test]
fn a_session_that_ran_a_long_text_runs_a_short_one_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    for head in &HEADS {
        let heads = vec![NetworkHead { head, dense: head.dense, width: 2 }];
        let config = NetworkConfig { heads, ..NetworkConfig::encoder(WORDS) };
        write("2-64-96-4-48", 2, 40, &config, &path);
        let long = Inputs::of_ids((0..80).collect());
        let mut short = Inputs::of_ids((100..180).collect());
        short.attention_mask[3..40].fill(0);
        short.attention_mask[57..80].fill(0);
        let mut session = open(&path, Engine::Fixed);
        let fresh = open(&path, Engine::Fixed).run(&short);
        session.run(&long).expect("runs");
        assert_eq!(session.run(&short).expect("runs"), fresh.expect("runs"), "{}", head.name);
    }
}
