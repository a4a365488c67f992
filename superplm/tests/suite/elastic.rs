//! Sub-architectures against a plain implementation, and extracted folders against both.

use crate::common::{PlainBert, largest_difference, small_batch, small_model, values};
use atb_checkpoint::CheckpointError;
use atb_space::Architecture;
use atb_superplm::{Output, PlmError, SuperPlm, extract};
use candle_core::Tensor;

const WHOLE: &str = "3-16-[20,24,28]-4-[16,24,16]";

/// Sub-architectures of [`WHOLE`] that between them shrink every size, alone and together.
const PARTS: [&str; 8] = [
    "3-16-[20,24,28]-4-[16,24,16]", // the whole
    "2-16-20-4-16",                 // layers, and narrower heads in layer 1
    "3-12-[20,24,28]-4-[16,24,16]", // hidden size
    "3-16-[5,24,7]-4-[16,24,16]",   // intermediate sizes
    "3-16-[20,24,28]-3-[12,18,12]", // first heads, of full width (MLM space)
    "3-16-[20,24,28]-4-[8,12,4]",   // all heads, narrower (KD space)
    "2-10-[9,11]-[2,3]-[6,9]",      // everything, a different layer each
    "1-1-1-1-1",                    // the smallest there is
];

fn arch(id: &str) -> Architecture {
    id.parse().expect(id)
}

fn assert_plain(output: &Output, plain: &PlainBert, id: &str) {
    let batch = small_batch();
    let sequence = batch.sequence;
    for row in 0..batch.batch {
        let range = row * sequence..(row + 1) * sequence;
        let mask = &batch.attention_mask[range.clone()];
        let expected =
            plain.run(&batch.input_ids[range.clone()], &batch.token_type_ids[range], mask);
        let close = |what: &str, tensor: Tensor, expected: Vec<f64>| {
            let found = values(&tensor);
            assert_eq!(found.len(), expected.len(), "{id}: {what}");
            for (found, expected) in found.iter().zip(expected) {
                let difference = (f64::from(*found) - expected).abs();
                assert!(difference < 1e-5, "{id}, row {row}: {what} {found} for {expected}");
            }
        };
        let of_row = |tensor: &Tensor| tensor.get(row).expect("a row");
        close("hidden", of_row(&output.hidden), expected.hidden.concat());
        close("scores", of_row(&output.attention_scores), expected.scores.concat().concat());
        let pooled = output.pooled.as_ref().expect("has a pooler");
        close("pooled", of_row(pooled), expected.pooled);
    }
}

/// All files of a folder have the same permissions: none is its owner's alone.
fn assert_readable_alike(folder: &std::path::Path) {
    let permissions: Vec<_> = std::fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("metadata").permissions())
        .collect();
    assert_eq!(permissions.len(), 4);
    assert!(permissions.windows(2).all(|pair| pair[0] == pair[1]), "{permissions:?}");
}

#[test]
fn every_part_runs_like_the_plain_implementation() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    let plm = SuperPlm::load(&folder).expect("loads");
    for id in PARTS {
        let output = plm.forward(&arch(id), &small_batch()).expect(id);
        assert_plain(&output, &PlainBert::open(&folder, &arch(id)), id);
    }
}

#[test]
fn an_extracted_part_is_a_model_of_its_own() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    let plm = SuperPlm::load(&folder).expect("loads");
    for (number, id) in PARTS.into_iter().enumerate() {
        let part = root.path().join(format!("parts/{number}"));
        extract(&plm, &arch(id), &part).expect(id);
        assert_readable_alike(&part);
        let cut = SuperPlm::load(&part).expect(id);
        assert_eq!(cut.architecture(), &arch(id));
        assert_eq!(cut.config().source.as_deref(), Some(plm.source()));

        let elastic = plm.forward(&arch(id), &small_batch()).expect(id);
        let alone = cut.forward(cut.architecture(), &small_batch()).expect(id);
        assert!(largest_difference(&elastic.hidden, &alone.hidden) < 1e-6, "{id}");
        let scores = largest_difference(&elastic.attention_scores, &alone.attention_scores);
        assert!(scores < 1e-6, "{id}");
        assert_plain(&alone, &PlainBert::open(&part, &arch(id)), id);
    }
    // Nothing but the folders is left: no staging folder of any extraction.
    let left = std::fs::read_dir(root.path().join("parts")).expect("lists").count();
    assert_eq!(left, PARTS.len());
}

#[test]
fn extraction_overwrites_nothing() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    let before = std::fs::read(folder.join("model.safetensors")).expect("reads");
    let plm = SuperPlm::load(&folder).expect("loads");
    let error = extract(&plm, &arch("1-4-4-1-4"), &folder).expect_err("refused");
    assert!(
        matches!(&error, PlmError::Checkpoint(CheckpointError::Exists { folder: named }) if *named == folder),
        "{error}"
    );
    assert_eq!(std::fs::read(folder.join("model.safetensors")).expect("reads"), before);
}

#[test]
fn what_does_not_fit_is_named() {
    let root = tempfile::tempdir().expect("temporary folder");
    let plm = SuperPlm::load(&small_model(root.path(), WHOLE)).expect("loads");
    let refusal = |id: &str| plm.forward(&arch(id), &small_batch()).expect_err(id).to_string();
    let tail = |id: &str| refusal(id).split(": ").nth(1).expect("has a reason").to_owned();
    assert_eq!(
        refusal("4-16-20-4-16"),
        format!("4-16-20-4-16 does not fit into {WHOLE}: the number of layers 4 is more than 3")
    );
    assert_eq!(tail("2-20-20-4-16"), "the hidden size 20 is more than 16");
    assert_eq!(tail("2-16-[20,25]-4-16"), "the intermediate size of layer 1 25 is more than 24");
    assert_eq!(tail("2-16-20-5-15"), "the number of attention heads of layer 0 5 is more than 4");
    assert_eq!(
        tail("2-16-20-2-16"),
        "the head size (q|k|v size / heads) of layer 0 8 is more than 4"
    );
}

#[test]
fn batches_outside_the_tables_are_refused() {
    let root = tempfile::tempdir().expect("temporary folder");
    let plm = SuperPlm::load(&small_model(root.path(), WHOLE)).expect("loads");
    let refusal = |change: fn(&mut atb_text::Encoded)| {
        let mut batch = small_batch();
        change(&mut batch);
        plm.forward(plm.architecture(), &batch).expect_err("refused").to_string()
    };
    assert_eq!(
        refusal(|batch| batch.input_ids[3] = 11),
        "the batch does not suit the model: token id 11 is more than 10"
    );
    assert_eq!(
        refusal(|batch| batch.token_type_ids[3] = 2),
        "the batch does not suit the model: token type 2 is more than 1"
    );
    let long = plm.tokenizer().encode_batch(["a tiny model"], 513).expect("encodes");
    assert_eq!(
        plm.forward(plm.architecture(), &long).expect_err("refused").to_string(),
        "the batch does not suit the model: sequence length 513 is more than 512"
    );
}
