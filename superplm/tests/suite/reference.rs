//! Against PyTorch and transformers: `reference/make_reference.py` wrote what is expected.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use atb_superplm::{Output, SuperPlm};
use atb_text::{Encoded, TextInput};
use candle_core::{Device, Tensor};

use crate::common::largest_difference;

fn reference_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

fn read(path: &Path) -> (HashMap<String, Tensor>, HashMap<String, String>) {
    let bytes = std::fs::read(path).expect("the reference file");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).expect("tensors");
    (tensors, header.metadata().clone().unwrap_or_default())
}

fn ids(tensor: &Tensor) -> Vec<i64> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("i64 values")
}

#[test]
fn the_whole_teacher_equals_the_reference_implementation() {
    let teacher = atb_fetch::teacher().expect("the teacher's folder");
    let plm = SuperPlm::load(&teacher).expect("loads");
    let (expected, metadata) = read(&reference_folder().join("bert.safetensors"));
    let (batch, sequence) = expected["input_ids"].dims2().expect("two axes");
    let encoded = Encoded {
        batch,
        sequence,
        input_ids: ids(&expected["input_ids"]),
        attention_mask: ids(&expected["attention_mask"]),
        token_type_ids: ids(&expected["token_type_ids"]),
    };

    let texts: Vec<Vec<String>> = serde_json::from_str(&metadata["texts"]).expect("texts");
    let inputs = texts.iter().map(|texts| match texts.as_slice() {
        [first, second] => TextInput::Pair(first, second),
        texts => TextInput::Single(&texts[0]),
    });
    assert_eq!(plm.tokenizer().encode_batch(inputs, sequence).expect("encodes"), encoded);

    let output = plm.forward(plm.architecture(), &encoded).expect("runs");
    let step: usize = metadata["hidden_step"].parse().expect("a number");
    let heads: Vec<u32> = serde_json::from_str(&metadata["heads"]).expect("heads");
    let kept: Vec<u32> = (0..plm.architecture().hidden() as u32).step_by(step).collect();
    let pick = |tensor: &Tensor, indices: Vec<u32>, axis: usize| {
        let indices = Tensor::new(indices, &Device::Cpu).expect("indices");
        tensor.index_select(&indices, axis).expect("a part")
    };
    let hidden = largest_difference(&pick(&output.hidden, kept, 2), &expected["hidden"]);
    let scores = largest_difference(&pick(&output.attention_scores, heads, 1), &expected["scores"]);
    let pooled = largest_difference(&output.pooled.expect("has a pooler"), &expected["pooled"]);
    assert!(hidden < 1e-4, "hidden states differ by {hidden}");
    assert!(scores < 1e-4, "attention scores differ by {scores}");
    assert!(pooled < 1e-4, "pooled outputs differ by {pooled}");
}

#[test]
fn a_pickle_of_older_tools_equals_the_reference_implementation() {
    let output = run_tiny("tiny-mlm");
    assert!(output.pooled.is_none(), "there is no pooler in the file");
}

#[test]
fn an_electra_discriminator_equals_the_reference_implementation() {
    run_tiny("tiny-electra");
}

/// Runs a tiny model on the inputs whose hidden states are known.
fn run_tiny(name: &str) -> Output {
    let folder = reference_folder().join(name);
    let plm = SuperPlm::load(&folder).expect("loads");
    assert_eq!(plm.architecture().id(), "2-8-12-2-8");
    let (expected, _) = read(&folder.join("expected.safetensors"));
    let (batch, sequence) = expected["input_ids"].dims2().expect("two axes");
    let encoded = Encoded {
        batch,
        sequence,
        input_ids: ids(&expected["input_ids"]),
        attention_mask: vec![1; batch * sequence],
        token_type_ids: vec![0; batch * sequence],
    };
    let output = plm.forward(plm.architecture(), &encoded).expect("runs");
    let hidden = largest_difference(&output.hidden, &expected["hidden"]);
    assert!(hidden < 1e-5, "{name}: hidden states differ by {hidden}");
    output
}
