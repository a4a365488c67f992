//! ONNX files, in a bundle that is to be verified and on their own.

use crate::case::{Case, messages};
use crate::fixtures::{fixture, text};
use crate::proto::{bytes, external, model, node, tensor};

/// `atb verify` on a bundle with this `model.onnx`.
fn verify(about: &str, onnx: impl Into<Vec<u8>>) -> Case {
    Case::new(about, "verify bundle --model superplm")
        .shared("bundle")
        .shared("superplm")
        .file("bundle/model.onnx", onnx)
}

/// A model that ends in a constant of this shape.
fn constant_of_shape(shape: &[i64]) -> Vec<u8> {
    let shape = tensor("shape", &[shape.len() as i64], shape);
    model(
        &[node("ConstantOfShape", &["shape"], "last_hidden_state")],
        &[shape],
        "last_hidden_state",
    )
}

#[test]
fn files_in_a_bundle() {
    let whole = std::fs::read(fixture("bundle/model.onnx")).expect("reads");
    let of_data = |about: &str, entries: &[(&str, &str)]| {
        let weights = external("weights", &[1, 16, 48], entries);
        verify(
            about,
            model(
                &[node("Identity", &["weights"], "last_hidden_state")],
                &[weights],
                "last_hidden_state",
            ),
        )
    };
    let of_constants = |about: &str, nodes: &[Vec<u8>], tensors: &[Vec<u8>]| {
        verify(about, model(nodes, tensors, "last_hidden_state"))
    };
    let cases = [
        verify("an empty file", ""),
        verify("text", "these are my notes, not a model"),
        verify("NULs", vec![0; 64]),
        verify("cut in the middle", &whole[..whole.len() / 2]),
        verify("a length of 2^63", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        verify("a graph without nodes", model(&[], &[], "last_hidden_state")),
        verify("no graph", bytes(2, "nobody")),
        verify("a graph of nothing", bytes(7, "")),
        verify(
            "a node that is unknown",
            model(&[node("Oracle", &["input_ids"], "last_hidden_state")], &[], "last_hidden_state"),
        ),
        verify(
            "a node of missing inputs",
            model(
                &[node("Add", &["input_ids", "nothing"], "last_hidden_state")],
                &[],
                "last_hidden_state",
            ),
        ),
        verify(
            "a node of itself",
            model(
                &[node("Relu", &["last_hidden_state"], "last_hidden_state")],
                &[],
                "last_hidden_state",
            ),
        ),
        verify("a constant of a negative shape", constant_of_shape(&[-5])),
        verify("a constant of a huge shape", constant_of_shape(&[1 << 31, 1 << 31])),
        verify("a constant of the largest shape", constant_of_shape(&[i64::MAX, i64::MAX])),
        verify("a constant of 8 GiB", constant_of_shape(&[67_108_865, 4, 4])),
        of_constants(
            "a shape that is computed",
            &[
                node("Mul", &["a", "a"], "shape"),
                node("ConstantOfShape", &["shape"], "last_hidden_state"),
            ],
            &[tensor("a", &[3], &[4_096, 512, 64])],
        ),
        of_constants(
            "a value that is spread",
            &[node("Expand", &["a", "b"], "last_hidden_state")],
            &[tensor("a", &[1], &[7]), tensor("b", &[3], &[65_536, 1_024, 64])],
        ),
        of_constants(
            "a value that is repeated",
            &[node("Tile", &["a", "b"], "last_hidden_state")],
            &[tensor("a", &[1, 1, 1], &[7]), tensor("b", &[3], &[65_536, 1_024, 64])],
        ),
        of_constants(
            "a range",
            &[node("Range", &["a", "b", "c"], "last_hidden_state")],
            &[tensor("a", &[], &[0]), tensor("b", &[], &[1 << 40]), tensor("c", &[], &[1])],
        ),
        of_constants(
            "a column plus a row",
            &[node("Add", &["a", "b"], "last_hidden_state")],
            &[tensor("a", &[16_384, 1], &[1; 16_384]), tensor("b", &[1, 16_384], &[1; 16_384])],
        ),
        verify(
            "a tensor longer than its data",
            model(
                &[node("Identity", &["w"], "last_hidden_state")],
                &[tensor("w", &[1 << 40], &[1])],
                "last_hidden_state",
            ),
        ),
        verify(
            "a tensor of a negative shape",
            model(
                &[node("Identity", &["w"], "last_hidden_state")],
                &[tensor("w", &[-1], &[1])],
                "last_hidden_state",
            ),
        ),
        of_data("data in another folder", &[("location", "../../etc/hostname")]),
        of_data("data at an absolute place", &[("location", "/etc/hostname")]),
        of_data("data that is not there", &[("location", "weights.bin")]),
        of_data("data without a place", &[]),
        of_data("data that is a pipe", &[("location", "weights.bin")]).pipe("bundle/weights.bin"),
        of_data("data that is a folder", &[("location", "weights.bin")])
            .folder("bundle/weights.bin"),
        of_data(
            "data behind the end",
            &[("location", "weights.bin"), ("offset", "18446744073709551615"), ("length", "8")],
        )
        .file("bundle/weights.bin", vec![0; 64]),
        of_data("data of another length", &[("location", "weights.bin"), ("length", "4")])
            .file("bundle/weights.bin", vec![0; 64]),
        verify("a pipe", "").pipe("bundle/model.onnx"),
        verify("a folder", "").folder("bundle/model.onnx"),
    ];
    insta::assert_snapshot!(messages(&cases));
}

#[test]
fn bundles() {
    let verify = |about: &str| {
        Case::new(about, "verify bundle --model superplm").shared("bundle").shared("superplm")
    };
    let report = text("bundle/report.json");
    let of_report = |about: &str, text: &str| verify(about).file("bundle/report.json", text);
    let cases = [
        Case::new("no such bundle", "verify bundle --model superplm").shared("superplm"),
        Case::new("no such model", "verify bundle --model superplm").shared("bundle"),
        Case::new("a bundle that is a model", "verify superplm --model superplm")
            .shared("superplm"),
        of_report("a report of nothing", ""),
        of_report("a report that is text", "my notes"),
        of_report(
            "a report of a newer schema",
            &report.replacen("\"schema\": 1", "\"schema\": 9", 1),
        ),
        of_report(
            "a report of another architecture",
            &report.replace("2-48-64-12-48", "1-48-64-12-48"),
        ),
        of_report(
            "a report of another sequence length",
            &report.replacen("\"sequence\": 16", "\"sequence\": 8", 1),
        ),
        of_report(
            "a report of other outputs",
            &report.replace("last_hidden_state", "first_hidden_state"),
        ),
        of_report(
            "a report of an architecture that is none",
            &report.replace("2-48-64-12-48", "2-48"),
        ),
        verify("a report that is a pipe").pipe("bundle/report.json"),
        verify("no vocabulary").file("bundle/vocab.txt", ""),
    ];
    insta::assert_snapshot!(messages(&cases));
}
