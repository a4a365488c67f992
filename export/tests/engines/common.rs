//! Model folders to export, and the engines that their bundles are compared in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use atb_export::{Bundle, ExportError, Options, Parity};
use atb_onnx_runtime::OnnxRuntime;
use atb_space::Workload;
use atb_superplm::{SuperPlm, extract};
use atb_text::{Encoded, Tokenizer};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// Hidden size of [`model`].
pub(crate) const HIDDEN: usize = 32;

/// Files of this shape with these heads.
pub(crate) fn options(workload: Workload, heads: &[String]) -> Options {
    Options { workload, heads: heads.to_vec(), ..Options::default() }
}

/// A small model folder with the parameters of the encoder that `wanted` takes, and the given
/// ones besides.
pub(crate) fn model(
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
    further: &[(String, Vec<usize>)],
) {
    let tokenizer = Tokenizer::bert_uncased().expect("built in");
    let arch = "2-32-64-2-16".parse().expect("parses");
    let plm = SuperPlm::random(arch, tokenizer, 3).expect("made");
    extract(&plm, plm.architecture(), folder).expect("extracts");
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).expect("reads");
    let encoder = SafeTensors::deserialize(&bytes).expect("parses");
    let values = |seed: usize, shape: &[usize]| -> Vec<u8> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes()).collect()
    };
    let values: Vec<Vec<u8>> =
        further.iter().enumerate().map(|(seed, (_, shape))| values(seed, shape)).collect();
    let mut tensors: HashMap<&str, TensorView<'_>> =
        encoder.iter().filter(|(name, _)| wanted(name)).collect();
    for ((name, shape), values) in further.iter().zip(&values) {
        let view = TensorView::new(Dtype::F32, shape.clone(), values).expect("fits");
        tensors.insert(name, view);
    }
    let written = safetensors::serialize(tensors, None).expect("serialises");
    std::fs::write(path, written).expect("writes");
}

/// Sets keys of the folder's `config.json`.
pub(crate) fn configure(folder: &Path, keys: &serde_json::Value) {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).expect("reads");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("parses");
    for (key, value) in keys.as_object().expect("keys") {
        config[key] = value.clone();
    }
    std::fs::write(path, config.to_string()).expect("writes");
}

/// The process's ONNX Runtime.
pub(crate) fn onnx_runtime() -> &'static OnnxRuntime {
    static LOADED: LazyLock<OnnxRuntime> = LazyLock::new(|| {
        let library = atb_fetch::onnx_runtime().expect("ONNX Runtime is needed for this test");
        OnnxRuntime::load(&library).expect("loads")
    });
    &LOADED
}

/// The bundle against candle on the model folder.
pub(crate) fn verify(bundle: &Bundle, model: &Path, onnx_runtime: Option<&OnnxRuntime>) -> Parity {
    let plm = SuperPlm::load(model).expect("loads");
    let reference = |batch: &Encoded| Ok::<_, ExportError>(plm.outputs(batch).expect("runs"));
    atb_export::verify(bundle, model, reference, onnx_runtime).expect("runs")
}
