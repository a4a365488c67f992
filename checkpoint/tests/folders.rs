//! Model folders as they are in the wild, and folders that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use atb_checkpoint::{BertConfig, Checkpoint, RowsI8};
use miette::Diagnostic;
use safetensors::View;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

const SPACES: [&str; 2] = ["mlm", "kd"];

fn fixture(space: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(space).join(name)
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A folder of the reference's layout, changed, and what opening it then says.
struct Changed {
    folder: tempfile::TempDir,
}

impl Changed {
    fn copy(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        for entry in fs::read_dir(fixture("kd", name)).expect("lists") {
            let entry = entry.expect("lists");
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copies");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn says(&self) -> String {
        let error = Checkpoint::open(self.folder.path()).err().expect("refused");
        let help = error.help().map(|help| format!(" [{help}]")).unwrap_or_default();
        format!("{error}{help}").replace(&self.folder.path().display().to_string(), "FOLDER")
    }

    fn config(change: impl FnOnce(&mut Value)) -> Self {
        let changed = Self::copy("safetensors");
        let path = changed.path("config.json");
        let text = fs::read_to_string(&path).expect("reads");
        let mut config = serde_json::from_str(&text).expect("JSON");
        change(&mut config);
        fs::write(path, config.to_string()).expect("writes");
        changed
    }

    fn weights(change: impl FnOnce(&mut Tensors)) -> Self {
        let changed = Self::copy("safetensors");
        let path = changed.path("model.safetensors");
        let bytes = fs::read(&path).expect("reads");
        let parsed = SafeTensors::deserialize(&bytes).expect("parses");
        let mut tensors: Tensors = parsed
            .iter()
            .map(|(name, view)| {
                (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            })
            .collect();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor"))
        });
        fs::write(path, safetensors::serialize(views, None).expect("writes")).expect("writes");
        changed
    }
}

#[test]
fn the_files_of_one_model_hold_the_same_tensors() {
    for space in SPACES {
        let open = |name: &str| Checkpoint::open(&fixture(space, name)).expect(name);
        let (pickle, safetensors, hugging_face) =
            (open("pickle"), open("safetensors"), open("hugging-face"));
        assert_eq!(pickle.config().architecture, hugging_face.config().architecture);
        assert_ne!(pickle.digest(), hugging_face.digest());
        for name in [
            "embeddings.word_embeddings.weight",
            "embeddings.LayerNorm.bias",
            "encoder.layer.1.attention.self.query.weight",
            "encoder.layer.0.output.LayerNorm.weight",
            "pooler.dense.weight",
            "kd_projection.weight",
            "kd_projection.bias",
        ] {
            let tensor = hugging_face.tensor(name).expect(name);
            assert_eq!(pickle.tensor(name).expect(name), tensor, "{space}: {name}");
            assert_eq!(safetensors.tensor(name).expect(name), tensor, "{space}: {name}");
            assert!(tensor.1.iter().any(|value| *value != 0.0), "{space}: {name}");
        }
        assert_eq!(hugging_face.shape("kd_projection.weight"), Some(&[32, 24][..]));
    }
    let mlm = Checkpoint::open(&fixture("mlm", "pickle")).expect("opens");
    assert!(mlm.has("cls.predictions.bias") && !mlm.has("cls.predictions.decoder.weight"));
    assert!(
        !Checkpoint::open(&fixture("kd", "pickle")).expect("opens").has("cls.predictions.bias")
    );
}

/// Stores the matrix `name` as i8 with scales.
fn as_i8(tensors: &mut Tensors, name: &str) {
    let (dtype, shape, data) = tensors.remove(name).expect(name);
    assert_eq!((dtype, shape.len()), (Dtype::F16, 2));
    let values: Vec<f32> =
        data.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect();
    let rows = RowsI8::round(&values, shape[1]);
    let scales = rows.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    tensors.insert(RowsI8::scale_name(name), (Dtype::F32, vec![shape[0]], scales));
    tensors.insert(name.to_owned(), (Dtype::I8, shape, rows.data().into_owned()));
}

#[test]
fn matrices_of_i8_are_their_scales_steps() {
    let stored = "bert.encoder.layers.1.output.dense.weight";
    let name = "encoder.layer.1.output.dense.weight";
    let whole = Checkpoint::open(&fixture("kd", "safetensors")).expect("opens");
    let rounded = Changed::weights(|tensors| as_i8(tensors, stored));
    let rounded = Checkpoint::open(rounded.folder.path()).expect("opens");
    let (shape, values) = whole.tensor(name).expect("reads");
    let found = rounded.values(name, &shape).expect("reads");
    for (row, found) in values.chunks(shape[1]).zip(found.chunks(shape[1])) {
        let largest = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let error = row.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= largest / 254.0 * 1.001, "{error} of {largest}");
        assert!(found.iter().any(|value| *value != 0.0));
    }

    let scale = RowsI8::scale_name(stored);
    let without = Changed::weights(|tensors| {
        as_i8(tensors, stored);
        tensors.remove(&scale);
    });
    assert!(without.says().contains(&scale), "{}", without.says());
    let short = Changed::weights(|tensors| {
        as_i8(tensors, stored);
        tensors.insert(scale.clone(), (Dtype::F32, vec![1], vec![0; 4]));
    });
    assert!(short.says().contains(&scale), "{}", short.says());
    let text = Changed::weights(|tensors| {
        as_i8(tensors, stored);
        tensors.insert(scale.clone(), (Dtype::I64, vec![24], vec![0; 24 * 8]));
    });
    assert!(text.says().contains(&scale), "{}", text.says());
}

#[test]
fn unknown_names_are_refused_with_the_layouts_that_are_known() {
    let layouts = "Hugging Face BERT or ELECTRA, AutoTinyBERT reference";
    let add = |name: &str| {
        let name = name.to_owned();
        Changed::weights(|tensors| {
            tensors.insert(name, (Dtype::F32, vec![1], vec![0; 4]));
        })
        .says()
    };
    for name in ["roberta.pooler.dense.weight", "bert.encoder.layers.2.output.dense.bias"] {
        assert_eq!(
            add(name),
            format!(
                "FOLDER/model.safetensors: tensor `{name}` is not one of a BERT whose config.json \
                 has 2 layers [the tensor names of these layouts are read: {layouts}]"
            )
        );
    }
    assert_eq!(
        add("pooler.dense.bias"),
        "FOLDER/model.safetensors: `bert.pooler.dense.bias` and `pooler.dense.bias` are the same \
         tensor under two names [save the weights with one of them]"
    );
}

#[test]
fn tensors_that_are_not_what_the_configuration_says_are_refused() {
    let stored = "bert.encoder.layers.1.output.dense.weight";
    let name = "encoder.layer.1.output.dense.weight";
    assert_eq!(
        Changed::weights(|tensors| drop(tensors.remove(stored))).says(),
        format!(
            "FOLDER/model.safetensors has no tensor `{name}` (config.json implies one of shape \
             [24, 36])"
        )
    );
    let misshapen = |found: &str, name: &str, expected: &str| {
        format!(
            "FOLDER/model.safetensors: tensor `{name}` has shape {found} where config.json \
             implies {expected}"
        )
    };
    let set = |name: &'static str, dtype, shape: &[usize], bytes| {
        let shape = shape.to_vec();
        Changed::weights(|tensors| {
            tensors.insert(name.to_owned(), (dtype, shape, vec![0; bytes]));
        })
        .says()
    };
    assert_eq!(
        set(stored, Dtype::F32, &[36, 24], 36 * 24 * 4),
        misshapen("[36, 24]", name, "[24, 36]")
    );
    assert_eq!(
        set("bert.dense_fit.weight", Dtype::F16, &[32, 23], 32 * 23 * 2),
        misshapen("[32, 23]", "kd_projection.weight", "[32, 24]")
    );
    assert_eq!(
        set(stored, Dtype::I16, &[24, 36], 24 * 36 * 2),
        format!(
            "FOLDER/model.safetensors: tensor `{name}` is of type i16, expected f32, f16, bf16 or \
             f64"
        )
    );
    assert_eq!(
        set(stored, Dtype::I8, &[24, 36], 24 * 36),
        format!(
            "FOLDER/model.safetensors: tensor `{stored}` is of type i8 and has no scales, \
             `{stored}.scale` [write it by `atb extract --weights i8`, or save the weights as f32]"
        )
    );
    let table = |key: &'static str, value: usize| {
        Changed::config(|config| config[key] = json!(value)).says()
    };
    let words = "embeddings.word_embeddings.weight";
    assert_eq!(table("vocab_size", 58), misshapen("[59, 24]", words, "[58, 24]"));
    let positions = "embeddings.position_embeddings.weight";
    assert_eq!(
        table("max_position_embeddings", 512),
        misshapen("[16, 24]", positions, "[512, 24]")
    );
    let checkpoint = Checkpoint::open(&fixture("kd", "pickle")).expect("opens");
    checkpoint.check_vocabulary(59).expect("the right number");
    let error = checkpoint.check_vocabulary(60).expect_err("refused").to_string();
    assert!(
        error.ends_with("the vocabulary has 60 entries, config.json says vocab_size 59"),
        "{error}"
    );
}

#[test]
fn values_that_are_not_finite_are_refused_when_they_are_read() {
    for bits in [0x7e00_u16, 0x7c00, 0xfc00] {
        let changed = Changed::weights(|tensors| {
            let (_, _, data) = tensors.get_mut("bert.pooler.dense.weight").expect("is there");
            data[40..42].copy_from_slice(&bits.to_le_bytes());
        });
        let checkpoint = Checkpoint::open(changed.folder.path()).expect("opens");
        checkpoint.tensor("pooler.dense.bias").expect("is finite");
        let error = checkpoint.tensor("pooler.dense.weight").expect_err("refused").to_string();
        assert!(
            error.ends_with("tensor `pooler.dense.weight` holds values that are not finite"),
            "{error}"
        );
    }
}

#[test]
fn sizes_without_measure_are_refused() {
    let with = |key: &'static str, value: Value| {
        Changed::config(|config| config[key] = value)
            .says()
            .trim_start_matches("FOLDER/config.json: ")
            .to_owned()
    };
    for key in ["hidden_size", "intermediate_size", "num_attention_heads", "qkv_size"] {
        for size in [u64::MAX, i64::MAX as u64, 1 << 21] {
            assert_eq!(
                with(key, json!(size)),
                format!("`{key}` is {size}, expected at most 1048576")
            );
        }
        for wrong in [json!(0), json!(-1), json!(1.5), json!("4"), json!([4])] {
            assert_eq!(
                with(key, wrong.clone()),
                format!("`{key}` is {wrong}, expected a whole number above 0")
            );
        }
    }
    assert_eq!(
        with("num_hidden_layers", json!(1_000_000_000)),
        "`num_hidden_layers` is 1000000000, expected at most 1024"
    );
    assert_eq!(
        with("vocab_size", json!(i64::MAX)),
        "`vocab_size` is 9223372036854775807, expected at most 16777216"
    );
    for eps in [json!(0), json!(-1e-12), json!(1e-40), json!(0.5), json!("1e-12")] {
        assert_eq!(
            with("layer_norm_eps", eps.clone()),
            format!("`layer_norm_eps` is {eps}, expected a number from 1e-20 to 0.1")
        );
    }
    let changed = Changed::copy("safetensors");
    fs::write(changed.path("config.json"), vec![b' '; (1 << 20) + 1]).expect("writes");
    assert!(changed.says().contains("config.json: the file is larger than 1 MiB"));
}

#[test]
fn headers_that_lie_are_refused() {
    let with = |header: &str| {
        let changed = Changed::copy("safetensors");
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        fs::write(changed.path("model.safetensors"), bytes).expect("writes");
        changed.says()
    };
    for header in [
        r#"{"a": {"dtype": "F32", "shape": [9223372036854775807, 2], "data_offsets": [0, 8]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9223372036854775807]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#,
        "[]",
    ] {
        let message = with(header);
        assert!(
            message.starts_with("FOLDER/model.safetensors is cut short or damaged ("),
            "{message}"
        );
    }
    let changed = Changed::copy("safetensors");
    fs::write(changed.path("model.safetensors"), u64::MAX.to_le_bytes()).expect("writes");
    assert!(changed.says().contains("is cut short or damaged"), "{}", changed.says());
}

#[test]
fn a_pickle_that_is_damaged_anywhere_is_refused_or_read() {
    let changed = Changed::copy("pickle");
    let path = changed.path("pytorch_model.bin");
    let sound = fs::read(&path).expect("reads");
    for keep in (0..sound.len()).step_by(997) {
        fs::write(&path, &sound[..keep]).expect("writes");
        let message = changed.says();
        assert!(
            message.starts_with("FOLDER/pytorch_model.bin is cut short or damaged (")
                && message.contains("[download or copy it again"),
            "{keep} bytes: {message}"
        );
    }
    // A byte of the description or the directory turned round: an error, or another model.
    for at in (0..sound.len()).step_by(61) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0xff;
        fs::write(&path, bytes).expect("writes");
        if let Ok(checkpoint) = Checkpoint::open(changed.folder.path()) {
            checkpoint.tensor("embeddings.word_embeddings.weight").map(drop).unwrap_or_default();
        }
    }
}

#[test]
fn shards_that_are_missing_or_elsewhere_are_refused() {
    let changed = Changed::copy("hugging-face");
    let index = changed.path("model.safetensors.index.json");
    let text = fs::read_to_string(&index).expect("reads");
    let second = "model-00002-of-00002.safetensors";
    fs::write(&index, text.replace(second, "../model.safetensors")).expect("writes");
    assert!(
        changed.says().contains("`../model.safetensors` is not the name of a file in this folder"),
        "{}",
        changed.says()
    );
    fs::write(&index, text.replacen("pooler.dense.bias", "pooler.dense.other", 1)).expect("writes");
    assert!(
        changed.says().contains("does not hold tensor `bert.pooler.dense.other`"),
        "{}",
        changed.says()
    );
    fs::write(&index, r#"{"weight_map": {}}"#).expect("writes");
    assert!(changed.says().contains("it lists no file"), "{}", changed.says());
    fs::write(&index, text).expect("writes");
    fs::remove_file(changed.path(second)).expect("removes");
    assert!(changed.says().contains(second), "{}", changed.says());
}

#[test]
fn a_task_goes_by_its_letters() {
    let config = BertConfig::new("1-8-16-2-8".parse().expect("an architecture"), 10);
    assert_eq!(config.other_task("CoLA"), None);
    let config = BertConfig { task: Some("sst2".to_owned()), ..config };
    assert_eq!(config.other_task("SST-2"), None);
    assert_eq!(config.other_task("CoLA"), Some("sst2"));
    let changed = Changed::config(|config| config["finetuning_task"] = json!(["sst2"]));
    let expected = "`finetuning_task` is [\"sst2\"], expected the name of a task";
    assert!(changed.says().ends_with(expected), "{}", changed.says());
}

#[test]
fn what_is_written_is_read_back() {
    let config = BertConfig::read(&fixture("kd", "pickle")).expect("reads");
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("config.json"), config.to_json()).expect("writes");
    assert_eq!(BertConfig::read(folder.path()).expect("reads"), config);
}

#[test]
fn an_electra_is_written_as_one() {
    let changed = Changed::config(|config| {
        config["model_type"] = json!("electra");
        config["architectures"] = json!(["ElectraForSequenceClassification"]);
    });
    let config = BertConfig::read(changed.folder.path()).expect("reads");
    let text = config.to_json();
    let written: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(written["model_type"], "electra");
    assert_eq!(written["embedding_size"], written["hidden_size"]);
    fs::write(changed.path("config.json"), text).expect("writes");
    assert_eq!(BertConfig::read(changed.folder.path()).expect("reads"), config);
}
