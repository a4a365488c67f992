//! Bundles of real weights, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use atb_export::{Bundle, Options, export};
use atb_space::{Precision, Workload};
use atb_superplm::{SuperPlm, extract};
use atb_text::Tokenizer;
use safetensors::SafeTensors;

use crate::common::{onnx_runtime, options, verify};
use crate::{checker, rten_engine};

const WORKLOAD: Workload = Workload { batch: 1, sequence: 128 };

/// The teacher's share of `id`, as a model folder.
fn cut(id: &str, folder: &Path) -> PathBuf {
    let teacher = atb_fetch::teacher().expect("the teacher is needed for this test");
    let plm = SuperPlm::load(&teacher).expect("loads");
    let model = folder.join("model");
    extract(&plm, &id.parse().expect(id), &model).expect("extracts");
    model
}

#[test]
fn three_engines_agree_on_real_sentences() {
    // The whole teacher, narrow heads of a narrow model, and layers that differ.
    for id in ["6-384-1536-12-384", "4-212-604-12-228", "2-160-[200,408]-[12,6]-[240,150]"] {
        let folder = tempfile::tempdir().expect("a folder");
        let model = cut(id, folder.path());
        let workload = Workload { batch: 2, ..WORKLOAD };
        let bundle = export(&model, &options(workload, &[]), &folder.path().join("bundle"))
            .expect("exports");
        let parity = verify(&bundle, &model, Some(onnx_runtime()));
        assert!(parity.sentences >= 10);
        assert!(parity.holds(), "{id}: {parity:?}");
        // A comparison of something with itself would be exactly zero.
        assert!(parity.candle_tract > 0.0, "{id}: {parity:?}");
    }
}

#[test]
fn integers_take_a_quarter_of_the_bytes_and_agree_on_real_sentences() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = cut("6-384-1536-12-384", folder.path());
    let write = |precision| {
        let options = Options { precision, ..options(WORKLOAD, &[]) };
        export(&model, &options, &folder.path().join("bundle")).expect("exports")
    };
    let floats = write(Precision::F32).report().model_bytes;
    let bundle = write(Precision::Int8);
    let bytes = bundle.report().model_bytes;
    assert!(bytes * 10 < floats * 3, "{bytes} of {floats} bytes");
    let parity = verify(&bundle, &model, Some(onnx_runtime()));
    assert!(parity.holds() && parity.candle_tract < 0.08, "{parity:?}");
    let rten = rten_engine::difference(&bundle);
    assert!(rten > 0.0 && rten < parity.tolerance_of_others(), "{rten:e}");
}

#[test]
fn other_readers_of_onnx_take_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = cut("2-160-[200,408]-[12,6]-[240,150]", folder.path());
    let workload = Workload { batch: 2, sequence: 48 };
    let bundle =
        export(&model, &options(workload, &[]), &folder.path().join("bundle")).expect("exports");
    let rten = rten_engine::difference(&bundle);
    assert!(rten > 0.0 && rten <= atb_rten::TOLERANCE, "{rten:e}");
    let file = bundle.model_file();
    let checked = checker::check(&[&file]).expect("a valid file");
    assert_eq!(checked.trim(), file.display().to_string());
}

#[test]
fn checkpoints_of_every_layout_export_to_the_same_outputs() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures");
    let folder = tempfile::tempdir().expect("a folder");
    for space in ["mlm", "kd"] {
        for layout in ["pickle", "safetensors", "hugging-face"] {
            let model = fixtures.join(space).join(layout);
            let target = folder.path().join(format!("{space}-{layout}"));
            let workload = Workload { batch: 1, sequence: 16 };
            let bundle = export(&model, &options(workload, &[]), &target).expect("exports");
            let parity = verify(&bundle, &model, None);
            assert!(parity.holds() && parity.candle_tract > 0.0, "{space}, {layout}: {parity:?}");
        }
    }
}

#[test]
fn a_changed_weight_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = cut("1-96-128-12-120", folder.path());
    let bundle =
        export(&model, &options(WORKLOAD, &[]), &folder.path().join("bundle")).expect("exports");
    let file = bundle.model_file();
    let mut bytes = fs::read(&file).expect("reads");
    let name = b"encoder.layer.0.output.LayerNorm.bias";
    let occurs = |window: &[u8]| window == name;
    let end = bytes.windows(name.len()).rposition(occurs).expect("the tensor") + name.len();
    // Its values follow the name: turn the sign of the first ones.
    for value in 0..8 {
        bytes[end + 10 + 4 * value] ^= 0x80;
    }
    fs::write(&file, bytes).expect("writes");
    let parity = verify(&bundle, &model, None);
    assert!(!parity.holds(), "{parity:?}");
}

#[test]
fn a_model_without_a_pooler_is_exported_without_its_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokenizer = Tokenizer::bert_uncased().expect("built in");
    let plm =
        SuperPlm::random("1-32-64-2-32".parse().expect("parses"), tokenizer, 3).expect("made");
    let model = folder.path().join("model");
    extract(&plm, plm.architecture(), &model).expect("extracts");
    let weights = model.join("model.safetensors");
    let bytes = fs::read(&weights).expect("reads");
    let tensors = SafeTensors::deserialize(&bytes).expect("reads").tensors();
    let without = tensors.into_iter().filter(|(name, _)| !name.starts_with("pooler."));
    let without = safetensors::serialize(without, None).expect("serialises");
    fs::write(&weights, without).expect("writes");
    let bundle =
        export(&model, &options(WORKLOAD, &[]), &folder.path().join("bundle")).expect("exports");
    let parity = verify(&bundle, &model, None);
    assert!(parity.holds(), "{parity:?}");
    let mut text = atb_runtime::TextModel::open(bundle.folder()).expect("opens");
    let outputs = text.run(&["one"]).expect("runs");
    assert!(outputs[0].1.get("pooler_output").is_none());
}

#[test]
fn a_newer_or_damaged_report_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.json");
    fs::write(&path, "{\"schema\": 99}").expect("writes");
    let error = Bundle::open(folder.path()).expect_err("newer").to_string();
    assert!(error.contains("schema 99") && error.contains("report.json"), "{error}");
    fs::write(&path, "{\"schema\": 1}").expect("writes");
    let error = Bundle::open(folder.path()).expect_err("incomplete").to_string();
    assert!(error.contains("architecture"), "{error}");
}
