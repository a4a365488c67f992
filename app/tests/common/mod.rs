//! Bundles to embed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use atb_export::{Options, export};
use atb_space::Workload;
use atb_superplm::{SuperPlm, extract};
use atb_text::Tokenizer;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// The hidden size of the bundles' models.
const HIDDEN: usize = 32;

/// Writes a bundle of a small model of random weights that ends in a linear layer of this name
/// and width (`classifier`, `qa_outputs`), or in none, into `folder/bundle`, and beside it in one
/// file, whose path it gives.
pub(crate) fn bundle(folder: &Path, module: &str, width: usize) -> PathBuf {
    bundle_with(folder, module, width, &[])
}

/// The same with these heads.
pub(crate) fn bundle_with(folder: &Path, module: &str, width: usize, heads: &[&str]) -> PathBuf {
    let model = folder.join("model");
    let tokenizer = Tokenizer::bert_uncased().expect("built in");
    let plm = SuperPlm::random("2-32-64-2-16".parse().expect("parses"), tokenizer, 3);
    let plm = plm.expect("made");
    extract(&plm, plm.architecture(), &model).expect("extracts");
    if width > 0 {
        add_linear(&model.join("model.safetensors"), module, width);
    }
    let workload = Workload { batch: 1, sequence: 32 };
    let heads = heads.iter().map(ToString::to_string).collect();
    let options = Options { workload, heads, ..Options::default() };
    let bundle = export(&model, &options, &folder.join("bundle")).expect("exports");
    let file = folder.join("bundle.atb");
    bundle.pack(&file).expect("packs");
    file
}

fn add_linear(path: &Path, module: &str, width: usize) {
    let bytes = std::fs::read(path).expect("reads");
    let encoder = SafeTensors::deserialize(&bytes).expect("parses");
    let values = |count: usize| -> Vec<u8> {
        let value = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
        (0..count).flat_map(|i| value(i).to_le_bytes()).collect()
    };
    let (weight, bias) = (values(width * HIDDEN), values(width));
    let mut tensors: HashMap<String, TensorView<'_>> =
        encoder.iter().map(|(name, view)| (name.to_owned(), view)).collect();
    let view = |shape: &[usize], values| TensorView::new(Dtype::F32, shape.to_vec(), values);
    for (name, view) in
        [("weight", view(&[width, HIDDEN], &weight)), ("bias", view(&[width], &bias))]
    {
        tensors.insert(format!("{module}.{name}"), view.expect("fits"));
    }
    let written = safetensors::serialize(tensors, None).expect("serialises");
    std::fs::write(path, written).expect("writes");
}
