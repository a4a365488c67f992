//! Every head in four engines, and what a model folder says of its own.

use std::path::Path;

use atb_export::{Bundle, Options, export};
use atb_interface::{HEADS, Width};
use atb_runtime::TextModel;
use atb_space::{Precision, Workload};
use safetensors::SafeTensors;
use serde_json::json;

use crate::common::{HIDDEN, configure, model, onnx_runtime, options, verify};
use crate::{checker, rten_engine};

const WORKLOAD: Workload = Workload { batch: 2, sequence: 32 };
const LABELS: usize = 3;

/// The bundle has these outputs, gives the same in every engine and breaks no rule.
fn check(bundle: &Bundle, model: &Path, outputs: &[(&str, &[usize])]) {
    let shapes: Vec<_> = bundle.report().outputs.iter().map(|o| (&*o.name, &o.shape[..])).collect();
    assert_eq!(shapes, outputs);
    let parity = verify(bundle, model, Some(onnx_runtime()));
    assert!(parity.holds() && parity.candle_tract > 0.0, "{outputs:?}: {parity:?}");
    let rten = rten_engine::difference(bundle);
    assert!(rten <= atb_rten::TOLERANCE.max(parity.tolerance_of_others()), "{outputs:?}: {rten:e}");
    checker::check(&[&bundle.model_file()]).expect("a valid file");
}

/// A linear layer's parameters.
fn linear(module: &str, width: usize) -> [(String, Vec<usize>); 2] {
    [(format!("{module}.weight"), vec![width, HIDDEN]), (format!("{module}.bias"), vec![width])]
}

#[test]
fn every_head_gives_the_same_in_every_engine() {
    for head in &HEADS {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model");
        let mut further = Vec::new();
        let mut width = 0;
        if let Some(dense) = head.dense.filter(|dense| dense.width != Width::Hidden) {
            width = if let Width::Exactly(width) = dense.width { width } else { LABELS };
            let parameters = linear(dense.module, width).into_iter();
            further.extend(parameters.take(dense.parameters().count()));
        }
        model(&path, |_| true, &further);
        let shapes: Vec<(&str, Vec<usize>)> = head
            .outputs
            .iter()
            .map(|output| (output.name, output.shape([2, 32], HIDDEN, width)))
            .collect();
        let shapes: Vec<_> = shapes.iter().map(|(name, shape)| (*name, &shape[..])).collect();
        for precision in Precision::ALL {
            let options = Options { precision, ..options(WORKLOAD, &[head.name.to_owned()]) };
            let bundle = export(&path, &options, &folder.path().join("bundle")).expect("exports");
            check(&bundle, &path, &shapes);
        }
    }
}

#[test]
fn a_model_gives_what_it_was_trained_for() {
    let exported = |wanted: fn(&str) -> bool, module: &str, width: usize, class: Option<&str>| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model");
        model(&path, wanted, &linear(module, width));
        if let Some(class) = class {
            configure(&path, &json!({ "architectures": [class] }));
        }
        let bundle =
            export(&path, &options(WORKLOAD, &[]), &folder.path().join("bundle")).expect("exports");
        (folder, path, bundle)
    };
    let (_folder, path, bundle) = exported(|_| true, "classifier", LABELS, None);
    check(&bundle, &path, &[("logits", &[2, LABELS])]);
    let without_pooler = |name: &str| !name.starts_with("pooler.");
    let (_folder, path, bundle) = exported(without_pooler, "classifier", LABELS, None);
    check(&bundle, &path, &[("logits", &[2, 32, LABELS])]);
    let class = Some("BertForTokenClassification");
    let (_folder, path, bundle) = exported(|_| true, "classifier", LABELS, class);
    check(&bundle, &path, &[("logits", &[2, 32, LABELS])]);
    let (_folder, path, bundle) = exported(|_| true, "qa_outputs", 2, None);
    check(&bundle, &path, &[("start_logits", &[2, 32]), ("end_logits", &[2, 32])]);

    // An app that wants vectors of a model that gives none is told so.
    let mut model = TextModel::open(bundle.folder()).expect("opens");
    let error = model.embed(&["one"]).expect_err("no vectors").to_string();
    assert!(error.contains("its outputs are start_logits, end_logits"), "{error}");
}

#[test]
fn the_names_of_labels_go_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    model(&path, |_| true, &linear("classifier", LABELS));
    let class = json!(["BertForSequenceClassification"]);
    let labels = json!({ "0": "contradiction", "1": "neutral", "2": "entailment" });
    configure(&path, &json!({ "architectures": class, "id2label": labels }));
    let target = folder.path().join("bundle");
    let bundle = export(&path, &options(WORKLOAD, &[]), &target).expect("exports");
    assert_eq!(bundle.report().labels, ["contradiction", "neutral", "entailment"]);
    // Other tools find them where Hugging Face has them.
    let config = std::fs::read_to_string(target.join("config.json")).expect("reads");
    let config: serde_json::Value = serde_json::from_str(&config).expect("parses");
    assert_eq!((&config["architectures"], &config["id2label"]), (&class, &labels));
    assert_eq!(config["label2id"]["neutral"], 1);

    configure(&path, &json!({ "id2label": { "0": "negative", "1": "positive" } }));
    let error = export(&path, &options(WORKLOAD, &[]), &target).expect_err("two names").to_string();
    let expected = "names 2 labels, but the head `sequence-classification` tells 3 apart";
    assert!(error.contains(expected), "{error}");
    configure(&path, &json!({ "id2label": { "0": "negative", "2": "positive" } }));
    let error = export(&path, &options(WORKLOAD, &[]), &target).expect_err("a gap").to_string();
    assert!(error.contains("id2label"), "{error}");
    // A head without labels has no use for their names.
    let states = ["states".to_owned()];
    configure(&path, &json!({ "id2label": { "0": "negative", "1": "positive" } }));
    let bundle = export(&path, &options(WORKLOAD, &states), &target).expect("exports");
    assert!(bundle.report().labels.is_empty());
}

#[test]
fn an_embedding_is_the_projected_mean_of_the_token_states() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    model(&path, |_| true, &[("kd_projection.weight".to_owned(), vec![48, HIDDEN])]);
    let bundle = folder.path().join("bundle");
    export(&path, &options(WORKLOAD, &[]), &bundle).expect("exports");
    let mut text = TextModel::open(&bundle).expect("opens");
    let vectors = text.embed(&["a red apple", "two", "three roads"]).expect("runs");
    assert_eq!(vectors.iter().map(Vec::len).collect::<Vec<_>>(), [48; 3]);

    let weights = std::fs::read(path.join("model.safetensors")).expect("reads");
    let weights = SafeTensors::deserialize(&weights).expect("parses");
    let projection: Vec<f32> = weights
        .tensor("kd_projection.weight")
        .expect("is there")
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let (inputs, outputs) = text.run(&["a red apple"]).expect("runs").remove(0);
    let states = &outputs.get("last_hidden_state").expect("states").values;
    let real = inputs.attention_mask[..32].iter().filter(|mask| **mask != 0).count();
    for (value, row) in vectors[0].iter().zip(projection.chunks_exact(HIDDEN)) {
        let mean =
            |i: usize| states[i..real * HIDDEN].iter().step_by(HIDDEN).sum::<f32>() / real as f32;
        let expected: f32 = row.iter().enumerate().map(|(i, weight)| weight * mean(i)).sum();
        assert!((value - expected).abs() < 1e-5, "{value} and {expected}");
    }
}

#[test]
fn a_head_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    model(&path, |_| true, &[]);
    let refusal = |name: &str| {
        let names = [name.to_owned()];
        let bundle = folder.path().join("bundle");
        export(&path, &options(WORKLOAD, &names), &bundle).expect_err("refused").to_string()
    };
    assert_eq!(refusal("translation"), "there is no head `translation`");
    assert_eq!(
        refusal("embedding"),
        "the model has no head `embedding`: it lacks the tensor `kd_projection.weight`"
    );
}
