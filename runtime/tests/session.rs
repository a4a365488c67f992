//! The session on small models of the project's own graph.

use std::path::Path;

use atb_graph::{Network, NetworkConfig, RandomWeights};
use atb_runtime::{Inputs, Outputs, Session, TextModel};
use atb_space::Workload;

const WORKLOAD: Workload = Workload { batch: 2, sequence: 8 };

fn network(id: &str) -> Network {
    let arch = id.parse().expect(id);
    Network::new(&arch, WORKLOAD, &NetworkConfig::encoder(30_522))
}

fn states(outputs: &Outputs) -> &[f32] {
    &outputs.get("last_hidden_state").expect("hidden states").values
}

fn inputs() -> Inputs {
    let mut inputs = Inputs::of_ids((0..16).map(|i| 101 + 37 * i).collect());
    inputs.attention_mask[5..8].fill(0);
    inputs.token_type_ids[3..5].fill(1);
    inputs
}

#[test]
fn a_file_and_a_model_in_memory_give_the_same_outputs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let weights = RandomWeights::new(3);
    let network = network("2-64-[96,128]-[2,4]-[32,48]");
    network.write(&weights, &path).expect("writes");
    let from_file = Session::open(&path).expect("opens").run(&inputs()).expect("runs");
    let skeleton = network.skeleton();
    let mut session = Session::with_external_data("memory", &skeleton, 1, move |offset, length| {
        network.fill_range(&weights, offset, length).map_err(|error| error.to_string())
    })
    .expect("loads");
    assert_eq!((session.batch(), session.sequence()), (2, 8));
    assert_eq!(session.words(), Some(30_522));
    assert!(session.kernel().is_some_and(|kernel| kernel.tile.0 > 1));
    assert_eq!(session.run(&inputs()).expect("runs"), from_file);
    assert_eq!(states(&from_file).len(), 2 * 8 * 64);
    assert_eq!(from_file.get("pooler_output").expect("a pooler").values.len(), 2 * 64);
    let shapes: Vec<_> =
        session.outputs().iter().map(|output| (&*output.name, &output.shape[..])).collect();
    assert_eq!(shapes, [("last_hidden_state", &[2, 8, 64][..]), ("pooler_output", &[2, 64])]);
}

#[test]
fn padding_does_not_change_the_real_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    network("2-64-96-4-48").write(&RandomWeights::new(3), &path).expect("writes");
    let mut session = Session::open(&path).expect("opens");
    let one = inputs();
    let mut other = one.clone();
    other.input_ids[5..8].copy_from_slice(&[7, 8, 9]);
    let unmasked = [&one, &other].map(|inputs| {
        let inputs = Inputs { attention_mask: vec![1; 16], ..inputs.clone() };
        states(&session.run(&inputs).expect("runs"))[..5 * 64].to_vec()
    });
    let (one, other) = (session.run(&one).expect("runs"), session.run(&other).expect("runs"));
    let (one, other) = (states(&one), states(&other));
    assert_eq!(one[..5 * 64], other[..5 * 64]);
    for padding in [&one[5 * 64..8 * 64], &other[5 * 64..8 * 64]] {
        assert!(padding.iter().all(|value| *value == 0.0), "padding is not blank");
    }
    // As text, the same tokens change everything.
    assert_ne!(unmasked[0], unmasked[1]);
}

#[test]
fn several_threads_give_what_one_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    network("2-64-96-4-48").write(&RandomWeights::new(3), &path).expect("writes");
    let one = Session::open(&path).expect("opens").run(&inputs()).expect("runs");
    let two = Session::open_threaded(&path, 2).expect("opens").run(&inputs()).expect("runs");
    let difference = one.largest_difference(&two);
    assert!(difference < 1e-6, "difference {difference}");
}

#[test]
fn wrong_files_and_inputs_are_named() {
    let error = Session::open(Path::new("no/model.onnx")).expect_err("not there").to_string();
    assert!(error.contains("no/model.onnx"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, b"this is no model").expect("writes");
    let error = Session::open(&path).expect_err("no model").to_string();
    assert!(error.contains("model.onnx"), "{error}");

    network("1-32-64-2-32").write(&RandomWeights::new(3), &path).expect("writes");
    let whole = std::fs::read(&path).expect("reads");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("writes");
    let error = Session::open(&path).expect_err("truncated").to_string();
    assert!(error.contains("could not be loaded"), "{error}");

    std::fs::write(&path, &whole).expect("writes");
    let mut session = Session::open(&path).expect("opens");
    let error = session.run(&Inputs::of_ids(vec![0; 9])).expect_err("too long").to_string();
    assert_eq!(error, "input_ids has 9 values, the model takes 2 sequences of 8 tokens");
    let mut unknown = inputs();
    unknown.input_ids[0] = 30_522;
    let error = session.run(&unknown).expect_err("unknown token").to_string();
    assert_eq!(error, "input_ids has the token 30522, the model knows 0..30522");
}

#[test]
fn a_bundle_embeds_any_number_of_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    network("1-32-64-2-32")
        .write(&RandomWeights::new(3), &folder.path().join("model.onnx"))
        .expect("writes");
    std::fs::write(folder.path().join("vocab.txt"), atb_text::BERT_UNCASED_VOCABULARY)
        .expect("writes");
    let mut model = TextModel::open(folder.path()).expect("opens");
    let texts = ["a red apple", "two roads", "a red apple"];
    let vectors = model.embed(&texts).expect("runs");
    assert_eq!(vectors.len(), 3);
    assert_eq!(vectors[0].len(), 32);
    assert_eq!(vectors[0], vectors[2]);
    assert_ne!(vectors[0], vectors[1]);
    assert!(model.embed(&[]).expect("runs").is_empty());
}
