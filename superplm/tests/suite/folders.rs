//! Model folders that are unusual, and folders that are broken.

use std::fs;
use std::path::Path;

use atb_checkpoint::{BertConfig, Checkpoint};
use atb_space::Architecture;
use atb_superplm::{EMBEDDINGS_FILE, Storage, SuperPlm, TeacherEmbeddings, extract_as};
use candle_core::{DType, Device, Tensor};
use miette::Diagnostic;
use serde_json::{Value, json};

use crate::common::{largest_difference, rewrite, small_batch, small_model};

const WHOLE: &str = "2-16-24-4-8";

/// A small model whose folder `change` has been at, and what loading it then says.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    change(&folder);
    let error = SuperPlm::load(&folder).expect_err("refused");
    let help = error.help().map(|help| format!(" [{help}]")).unwrap_or_default();
    format!("{error}{help}").replace(&folder.display().to_string(), "FOLDER")
}

fn edit_config(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).expect("reads");
    let mut config = serde_json::from_str(&text).expect("JSON");
    change(&mut config);
    fs::write(path, config.to_string()).expect("writes");
}

#[test]
fn prefixed_names_half_precision_and_foreign_tensors_are_read() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    let plain = SuperPlm::load(&folder).expect("loads");
    let before = plain.forward(plain.architecture(), &small_batch()).expect("runs");
    rewrite(&folder, |tensors| {
        let renamed = tensors.drain().map(|(name, tensor)| {
            let half = if name.contains("embeddings.weight") { DType::F64 } else { DType::F32 };
            (format!("bert.{name}"), tensor.to_dtype(half).expect("converts"))
        });
        *tensors = renamed.collect();
        let head = Tensor::zeros(11, DType::F32, &Device::Cpu).expect("a tensor");
        tensors.insert("cls.predictions.bias".to_owned(), head);
    });
    let prefixed = SuperPlm::load(&folder).expect("loads");
    let after = prefixed.forward(prefixed.architecture(), &small_batch()).expect("runs");
    assert_eq!(largest_difference(&before.hidden, &after.hidden), 0.0);
    assert_ne!(plain.source(), prefixed.source());

    rewrite(&folder, |tensors| {
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_dtype(DType::BF16).expect("converts");
        }
    });
    let coarse = SuperPlm::load(&folder).expect("loads");
    let after = coarse.forward(coarse.architecture(), &small_batch()).expect("runs");
    let difference = largest_difference(&before.hidden, &after.hidden);
    assert!(0.0 < difference && difference < 0.2, "{difference}");
}

#[test]
fn smaller_storage_changes_outputs_little_and_keeps_what_the_teacher_gave() {
    let root = tempfile::tempdir().expect("temporary folder");
    let plm = SuperPlm::load(&small_model(root.path(), WHOLE)).expect("loads");
    let text = small_batch();
    let teacher = TeacherEmbeddings::new(&plm, &text).expect("embeds");
    let plm = plm.with_teacher_embeddings(teacher);
    let before = plm.forward(plm.architecture(), &text).expect("runs");
    let mut sizes = Vec::new();
    for (storage, most) in [(Storage::F32, 0.0), (Storage::F16, 0.01), (Storage::I8, 0.1)] {
        let folder = root.path().join(storage.to_string());
        extract_as(&plm, plm.architecture(), storage, false, &folder).expect("writes");
        sizes.push(fs::metadata(folder.join("model.safetensors")).expect("is there").len());
        let read = SuperPlm::load(&folder).expect("loads");
        let after = read.forward(read.architecture(), &text).expect("runs");
        let difference = largest_difference(&before.hidden, &after.hidden);
        assert!(difference <= most, "{storage}: {difference}");
        assert!(after.pooled.is_none());
        assert!(read.teacher_embeddings().expect("are kept").is_of(&text));
    }
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");

    let path = root.path().join("i8").join(EMBEDDINGS_FILE);
    let bytes = fs::read(&path).expect("reads");
    for (damaged, expected) in [
        (bytes[..bytes.len() - 1].to_vec(), "cut short or damaged"),
        (b"{}".to_vec(), "cut short or damaged"),
    ] {
        fs::write(&path, damaged).expect("writes");
        let error = SuperPlm::load(&root.path().join("i8")).expect_err("refused").to_string();
        assert!(error.contains(EMBEDDINGS_FILE) && error.contains(expected), "{error}");
    }
    // A part is no longer compared with that teacher.
    let part = "1-16-24-4-8".parse().expect("an architecture");
    let folder = root.path().join("part");
    extract_as(&plm, &part, Storage::F32, true, &folder).expect("writes");
    assert!(!folder.join(EMBEDDINGS_FILE).exists());
}

#[test]
fn a_configuration_reads_back_as_written() {
    for id in [WHOLE, "2-16-24-4-16", "3-320-[608,608,512]-[4,2,4]-[256,128,64]"] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let architecture: Architecture = id.parse().expect(id);
        let config = BertConfig {
            max_position_embeddings: 77,
            type_vocab_size: 3,
            layer_norm_eps: 1e-7,
            class: Some("BertForSequenceClassification".to_owned()),
            labels: vec!["bug".to_owned(), "idea".to_owned()],
            task: Some("tickets".to_owned()),
            source: Some("random:3".to_owned()),
            ..BertConfig::new(architecture, 1234)
        };
        fs::write(folder.path().join("config.json"), config.to_json()).expect("writes");
        assert_eq!(BertConfig::read(folder.path()).expect("reads"), config);
    }
}

#[test]
fn a_released_autotinybert_configuration_is_understood() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let config = json!({
        "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_size": 564,
        "intermediate_size": 1054, "max_position_embeddings": 512, "num_attention_heads": 8,
        "num_hidden_layers": 5, "qkv_size": 512, "type_vocab_size": 2, "vocab_size": 30522,
    });
    fs::write(folder.path().join("config.json"), config.to_string()).expect("writes");
    let config = BertConfig::read(folder.path()).expect("reads");
    assert_eq!(config.architecture.id(), "5-564-1054-8-512");
    assert_eq!(config.layer_norm_eps, 1e-12);
}

#[test]
fn configurations_that_are_refused_name_the_key() {
    let with = |key: &str, value: Value| {
        let key = key.to_owned();
        refusal(move |folder| {
            edit_config(folder, |config| match value {
                Value::Null => drop(config.as_object_mut().expect("object").remove(&key)),
                value => config[key] = value,
            });
        })
    };
    assert_eq!(
        with("hidden_size", Value::Null),
        "FOLDER/config.json: `hidden_size` is missing, expected a whole number above 0"
    );
    assert_eq!(
        with("num_hidden_layers", json!("two")),
        "FOLDER/config.json: `num_hidden_layers` is \"two\", expected a whole number above 0"
    );
    assert_eq!(
        with("hidden_act", json!("relu")),
        "FOLDER/config.json: `hidden_act` is \"relu\"; only \"gelu\" is supported"
    );
    assert_eq!(
        with("model_type", json!("roberta")),
        "FOLDER/config.json: `model_type` is \"roberta\"; only \"bert\" and \"electra\" are \
         supported"
    );
    assert_eq!(
        with("embedding_size", json!(8)),
        "FOLDER/config.json: `embedding_size` is 8, not the hidden size 16; embeddings of a size of \
         their own, as ELECTRA-small has them, are not supported [ELECTRA-base and ELECTRA-large are supported]"
    );
    assert_eq!(
        with("layer_norm_eps", json!(0)),
        "FOLDER/config.json: `layer_norm_eps` is 0, expected a number from 1e-20 to 0.1"
    );
    assert_eq!(
        with("autotinybert", json!({"schema_version": 2})),
        "FOLDER/config.json: `autotinybert` has schema version 2, newer than the 1 that this \
         version reads [update autotinybert]"
    );
    for (key, size) in [("hidden_size", 16), ("intermediate_size", 24), ("qkv_size", 8)] {
        assert_eq!(
            with(key, json!(12345)),
            format!(
                "FOLDER/config.json: `autotinybert` has the architecture {WHOLE}, whose {key} is \
                 {size}, but the file's {key} is 12345"
            )
        );
    }
    assert_eq!(
        refusal(|folder| edit_config(folder, |config| {
            config["num_attention_heads"] = json!(3);
            config.as_object_mut().expect("object").remove("autotinybert");
        })),
        "FOLDER/config.json: `num_attention_heads` is wrong: 3 attention heads do not divide the \
         q|k|v size 8 of layer 0 (nearest that they divide: 9)"
    );
}

#[test]
fn weights_that_are_refused_name_the_tensor_and_both_shapes() {
    let name = "encoder.layer.1.intermediate.dense.weight";
    assert_eq!(
        refusal(|folder| rewrite(folder, |tensors| drop(tensors.remove(name)))),
        format!(
            "FOLDER/model.safetensors has no tensor `{name}` (config.json implies one of shape \
             [24, 16])"
        )
    );
    assert_eq!(
        refusal(|folder| rewrite(folder, |tensors| {
            let tensor = Tensor::zeros((24, 15), DType::F32, &Device::Cpu).expect("a tensor");
            tensors.insert(name.to_owned(), tensor);
        })),
        format!(
            "FOLDER/model.safetensors: tensor `{name}` has shape [24, 15] where config.json \
             implies [24, 16]"
        )
    );
    assert_eq!(
        refusal(|folder| rewrite(folder, |tensors| {
            let tensor = Tensor::zeros((24, 16), DType::U8, &Device::Cpu).expect("a tensor");
            tensors.insert(name.to_owned(), tensor);
        })),
        format!(
            "FOLDER/model.safetensors: tensor `{name}` is of type u8, expected f32, f16, bf16 \
             or f64"
        )
    );
}

#[test]
fn damaged_files_are_named_with_a_remedy() {
    let cut = |name: &'static str, keep: usize| {
        refusal(move |folder| {
            let path = folder.join(name);
            let bytes = fs::read(&path).expect("reads");
            fs::write(&path, &bytes[..keep.min(bytes.len())]).expect("writes");
        })
    };
    for keep in [0, 5, 100, 5000] {
        let message = cut("model.safetensors", keep);
        assert!(
            message.starts_with("FOLDER/model.safetensors is cut short or damaged (")
                && message.ends_with(") [download or copy it again]"),
            "{keep} bytes: {message}"
        );
        assert_eq!(message.matches("FOLDER").count(), 1, "{message}");
    }
    let message = cut("config.json", 50);
    assert!(message.starts_with("FOLDER/config.json: EOF while parsing"), "{message}");

    let message = refusal(|folder| {
        fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin"))
            .expect("renames");
    });
    assert!(message.starts_with("FOLDER/pytorch_model.bin is cut short or damaged ("), "{message}");
    assert!(message.contains("save it as model.safetensors"), "{message}");
}

#[test]
fn incomplete_folders_say_what_to_put_there() {
    assert_eq!(
        refusal(|folder| fs::remove_file(folder.join("model.safetensors")).expect("removes")),
        "FOLDER holds neither model.safetensors nor pytorch_model.bin [put the model's weights \
         there]"
    );
    assert_eq!(
        refusal(|folder| fs::remove_file(folder.join("vocab.txt")).expect("removes")),
        "FOLDER holds neither tokenizer.json nor vocab.txt [put the model's vocab.txt there]"
    );
    assert_eq!(
        refusal(|folder| {
            let path = folder.join("vocab.txt");
            let text = fs::read_to_string(&path).expect("reads");
            fs::write(&path, text + "surplus\n").expect("writes");
        }),
        "FOLDER: the vocabulary has 12 entries, config.json says vocab_size 11 [use the \
         vocab.txt that came with the weights]"
    );
}

#[test]
fn a_checkpoint_gives_tensors_by_hugging_face_name() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    let checkpoint = Checkpoint::open(&folder).expect("opens");
    assert_eq!(checkpoint.config().architecture.id(), WHOLE);
    let (shape, values) =
        checkpoint.tensor("encoder.layer.0.attention.self.query.weight").expect("reads");
    assert_eq!(shape, [8, 16]);
    assert_eq!(values.len(), 128);
    assert!(checkpoint.has("pooler.dense.bias") && !checkpoint.has("no.such.tensor"));
    let error = checkpoint.tensor("no.such.tensor").expect_err("refused").to_string();
    assert!(error.ends_with("model.safetensors has no tensor `no.such.tensor`"), "{error}");
}
