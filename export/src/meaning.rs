//! What a model folder says of the meaning of its outputs beside its weights.

use std::path::Path;

use atb_bundle::{Activation, Embedding, Pooling};
use atb_checkpoint::CONFIG_FILE;
use atb_files::without_byte_order_mark;
use serde_json::Value;

/// The modules of a sentence-transformers folder, in their order.
const MODULES: &str = "modules.json";

/// The configuration of its pooling.
const POOLING: &str = "1_Pooling/config.json";

/// What embeddings are by the files of sentence-transformers; without them, the mean over all
/// tokens as it is. `normalised` overrides what they say of its length.
pub(crate) fn embedding(model: &Path, normalised: Option<bool>) -> Embedding {
    let modules = json(model, MODULES);
    let modules = modules.as_ref().and_then(Value::as_array);
    let normalises = |module: &Value| {
        module.get("type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with(".Normalize"))
    };
    let first = json(model, POOLING)
        .and_then(|config| config.get("pooling_mode_cls_token")?.as_bool())
        .unwrap_or(false);
    Embedding {
        pooling: if first { Pooling::First } else { Pooling::Mean },
        normalised: normalised
            .unwrap_or_else(|| modules.is_some_and(|modules| modules.iter().any(normalises))),
    }
}

/// How a classifier's logits become probabilities, by Hugging Face's `problem_type`.
pub(crate) fn activation(model: &Path) -> Activation {
    let kind = json(model, CONFIG_FILE).and_then(|config| config.get("problem_type").cloned());
    match kind.as_ref().and_then(Value::as_str) {
        Some("multi_label_classification") => Activation::Sigmoid,
        _ => Activation::Softmax,
    }
}

/// The file `name` of the folder, where it is there and one of JSON.
fn json(folder: &Path, name: &str) -> Option<Value> {
    let path = folder.join(name);
    let bytes = path.is_file().then(|| fs_err::read(path).ok())??;
    serde_json::from_slice(without_byte_order_mark(&bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_sentence_transformers_say_what_an_embedding_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::create_dir_all(atb_files::folder_of(&path)).expect("creates");
            fs_err::write(path, text).expect("writes");
        };
        assert_eq!(embedding(folder.path(), None), Embedding::default());
        assert_eq!(activation(folder.path()), Activation::Softmax);
        write(MODULES, r#"[{"type": "sentence_transformers.models.Normalize"}]"#);
        write(POOLING, r#"{"pooling_mode_cls_token": true}"#);
        write(CONFIG_FILE, r#"{"problem_type": "multi_label_classification"}"#);
        let expected = Embedding { pooling: Pooling::First, normalised: true };
        assert_eq!(embedding(folder.path(), None), expected);
        assert_eq!(activation(folder.path()), Activation::Sigmoid);
        assert!(!embedding(folder.path(), Some(false)).normalised);
        write(MODULES, "not JSON");
        assert!(!embedding(folder.path(), None).normalised);
    }
}
