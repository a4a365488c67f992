//! Model folders and ONNX files.

use std::io::{Cursor, Write};
use std::path::Path;

use atb_checkpoint::{BertConfig, CONFIG_FILE, Checkpoint, WEIGHTS_FILE};
use atb_interface::Inputs;
use atb_runtime::Session;
use atb_space::Cost;
use atb_superplm::TeacherEmbeddings;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::scratch::{put, told, with_folder};

/// The folder that the weights of [`safetensors`] and [`pickle`] are of.
const CONFIG: &str = r#"{"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 5,
"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6,
"max_position_embeddings": 8, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}"#;

/// Most tokens that a model is run on.
const MOST_TOKENS: usize = 64;

/// `config.json`. One that was read is the same when it was written.
pub fn config(data: &[u8]) {
    with_folder(|folder| {
        put(folder, CONFIG_FILE, data);
        let Some(config) = told(BertConfig::read(folder)) else { return };
        told(Cost::check(&config.architecture, config.vocab_size, config.max_position_embeddings));
        put(folder, CONFIG_FILE, config.to_json().as_bytes());
        let again = told(BertConfig::read(folder));
        assert_eq!(again.map(|it| it.architecture), Some(config.architecture));
    });
}

/// `model.safetensors`, or the list of its shards; also what a SuperPLM keeps of its teacher.
pub fn safetensors(data: &[u8]) {
    with_folder(|folder| {
        put(folder, CONFIG_FILE, CONFIG.as_bytes());
        let name = match data.starts_with(b"{") {
            true => "model.safetensors.index.json",
            false => WEIGHTS_FILE,
        };
        let path = put(folder, name, data);
        read_weights(folder);
        told(TeacherEmbeddings::parse(&path, data));
    });
}

/// `pytorch_model.bin`: a ZIP, or else the pickle that is packed into one.
pub fn pickle(data: &[u8]) {
    with_folder(|folder| {
        put(folder, CONFIG_FILE, CONFIG.as_bytes());
        let packed = match data.starts_with(b"PK") {
            true => data.to_vec(),
            false => packed(data).unwrap_or_default(),
        };
        put(folder, "pytorch_model.bin", &packed);
        read_weights(folder);
    });
}

/// A pickle as PyTorch packs it, with one storage of zeros.
fn packed(pickle: &[u8]) -> zip::result::ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in [("m/data.pkl", pickle), ("m/version", b"3\n"), ("m/data/0", &[0; 256])]
    {
        zip.start_file(name, stored)?;
        zip.write_all(content)?;
    }
    Ok(zip.finish()?.into_inner())
}

fn read_weights(folder: &Path) {
    let Some(checkpoint) = told(Checkpoint::open(folder)) else { return };
    for name in ["embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.bias"] {
        told(checkpoint.tensor(name));
    }
    told(checkpoint.check_vocabulary(5));
    let _ = checkpoint.digest();
}

/// An ONNX file: loaded and, if it takes little, run.
pub fn onnx(data: &[u8]) {
    with_folder(|folder| {
        let path = put(folder, "model.onnx", data);
        let Some(mut session) = told(Session::open(&path)) else { return };
        let tokens = session.batch().saturating_mul(session.sequence());
        if tokens <= MOST_TOKENS {
            let (input_ids, attention_mask) = (vec![0; tokens], vec![1; tokens]);
            let inputs = Inputs { input_ids, attention_mask, token_type_ids: vec![0; tokens] };
            told(session.run(&inputs));
        }
    });
}
