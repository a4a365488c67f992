//! Checkpoints of the reference implementation and of Hugging Face against PyTorch:
//! `checkpoint/tests/fixtures/make.py` wrote the files and what their models give.

use std::path::{Path, PathBuf};

use atb_checkpoint::Linear;
use atb_superplm::{SuperPlm, extract};
use atb_text::Encoded;
use candle_core::{Device, Tensor};

use crate::common::largest_difference;

const TOLERANCE: f32 = 1e-5;

fn fixtures(space: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures").join(space)
}

fn equals_pytorch(space: &str, folder: &Path) {
    let expected = fixtures(space).join("expected.safetensors");
    let expected = candle_core::safetensors::load(expected, &Device::Cpu).expect("loads");
    let (batch, sequence) = expected["input_ids"].dims2().expect("two axes");
    let ids = |name: &str| {
        expected[name].flatten_all().and_then(|flat| flat.to_vec1::<i64>()).expect("i64 values")
    };
    let encoded = Encoded {
        batch,
        sequence,
        input_ids: ids("input_ids"),
        attention_mask: ids("attention_mask"),
        token_type_ids: ids("token_type_ids"),
    };
    let plm = SuperPlm::load(folder).expect("loads");
    let output = plm.forward(plm.architecture(), &encoded).expect("runs");
    let Linear { weight, bias } = plm
        .kd_projection(plm.architecture())
        .expect("fits")
        .expect("the fit layer has become the projection");
    let hidden = output.hidden.reshape((batch * sequence, ())).expect("reshapes");
    let projected: Tensor = hidden.matmul(&weight.t().expect("transposes")).expect("multiplies");
    let projected = projected
        .broadcast_add(&bias)
        .and_then(|projected| projected.reshape((batch, sequence, ())))
        .expect("reshapes");
    for (what, ours) in [
        ("hidden", &output.hidden),
        ("scores", &output.attention_scores),
        ("pooled", &output.pooled.expect("has a pooler")),
        ("projected", &projected),
    ] {
        let difference = largest_difference(ours, &expected[what]);
        assert!(difference < TOLERANCE, "{}: {what} differ by {difference}", folder.display());
    }
}

#[test]
fn every_layout_and_format_gives_what_pytorch_gives() {
    for (space, id) in [("mlm", "2-24-36-2-16"), ("kd", "2-24-36-12-36")] {
        for name in ["pickle", "safetensors", "hugging-face"] {
            let folder = fixtures(space).join(name);
            assert_eq!(SuperPlm::load(&folder).expect("loads").architecture().id(), id);
            equals_pytorch(space, &folder);
        }
    }
}

#[test]
fn an_extracted_folder_keeps_the_bias_of_the_projection() {
    let root = tempfile::tempdir().expect("temporary folder");
    for space in ["mlm", "kd"] {
        let plm = SuperPlm::load(&fixtures(space).join("pickle")).expect("loads");
        let folder = root.path().join(space);
        extract(&plm, plm.architecture(), &folder).expect("extracts");
        equals_pytorch(space, &folder);
    }
}
