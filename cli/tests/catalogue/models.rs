//! Model folders: configurations, weights and vocabularies.

use serde_json::{Value, json};

use crate::case::{Case, messages};
use crate::fixtures::{fixture, text};

const EXPORT: &str = "export superplm --sequence 16 --out out";

fn export(about: &str) -> Case {
    Case::new(about, EXPORT).shared("superplm")
}

#[test]
fn configurations_of_models() {
    let whole: Value = serde_json::from_str(&text("superplm/config.json")).expect("JSON");
    let set = |key: &str, new: Value| {
        let about = format!("{key} = {}", new.to_string().chars().take(60).collect::<String>());
        let mut value = whole.clone();
        value[key] = new;
        // The plain keys count where this one is not.
        if key != "autotinybert" {
            value.as_object_mut().expect("an object").remove("autotinybert");
        }
        export(&about).file("superplm/config.json", value.to_string())
    };
    let without = |key: &str| {
        let mut value = whole.clone();
        value.as_object_mut().expect("an object").remove(key).expect("the key");
        value.as_object_mut().expect("an object").remove("autotinybert");
        export(&format!("without {key}")).file("superplm/config.json", value.to_string())
    };
    let of_file = |about: &str, bytes: &[u8]| export(about).file("superplm/config.json", bytes);
    let most = json!(i64::MAX);
    let cases = [
        of_file("an empty file", b""),
        of_file("no JSON", b"my notes"),
        of_file("a list", b"[]"),
        of_file("cut in the middle", b"{\"hidden_size\": 48, "),
        of_file("bytes that are no text", b"{\"hidden_size\": \"\xff\"}"),
        of_file("larger than any", &vec![b' '; (1 << 20) + 1]),
        of_file("twenty thousand brackets", "[".repeat(20_000).as_bytes()),
        of_file("a byte-order mark and nothing", b"\xef\xbb\xbf{}"),
        export("a pipe").pipe("superplm/config.json"),
        export("a folder").folder("superplm/config.json"),
        Case::new("no such folder", EXPORT),
        Case::new("an empty folder", EXPORT).folder("superplm"),
        Case::new("a file", EXPORT).file("superplm", "not a folder"),
        set("model_type", json!("gpt2")),
        set("hidden_act", json!("relu")),
        set("position_embedding_type", json!("relative_key")),
        set("hidden_size", json!(0)),
        set("hidden_size", json!(-48)),
        set("hidden_size", json!("48")),
        set("hidden_size", most.clone()),
        set("hidden_size", json!(1_048_576)),
        set("hidden_size", json!(52)),
        set("hidden_size", json!(48.5)),
        set("num_hidden_layers", json!(0)),
        set("num_hidden_layers", json!(1_000_000_000)),
        set("num_hidden_layers", json!(3)),
        set("num_hidden_layers", json!(1)),
        set("num_attention_heads", json!(0)),
        set("num_attention_heads", json!(7)),
        set("num_attention_heads", most.clone()),
        set("intermediate_size", json!(0)),
        set("intermediate_size", json!(68)),
        set("intermediate_size", most.clone()),
        set("qkv_size", json!(0)),
        set("qkv_size", json!(36)),
        set("qkv_size", most.clone()),
        set("vocab_size", json!(0)),
        set("vocab_size", json!(30_521)),
        set("vocab_size", most.clone()),
        set("max_position_embeddings", json!(8)),
        set("max_position_embeddings", json!(513)),
        set("max_position_embeddings", most.clone()),
        set("type_vocab_size", json!(0)),
        set("type_vocab_size", json!(3)),
        set("type_vocab_size", most),
        set("layer_norm_eps", json!(0.0)),
        set("layer_norm_eps", json!(-1e-12)),
        set("layer_norm_eps", json!(1e300)),
        set("layer_norm_eps", json!("small")),
        set("architectures", json!("BertModel")),
        set("architectures", json!([3])),
        set("id2label", json!(["a", "b"])),
        set("id2label", json!({"7": "a"})),
        set("finetuning_task", json!(7)),
        set("autotinybert", json!({})),
        set("autotinybert", json!({"schema_version": 9, "architecture": "2-48-64-12-48"})),
        set("autotinybert", json!({"schema_version": 1, "architecture": "2-48"})),
        set("autotinybert", json!({"schema_version": 1, "architecture": "3-48-64-12-48"})),
        set("autotinybert", json!({"schema_version": 1, "architecture": 7})),
        without("hidden_size"),
        without("num_hidden_layers"),
        without("vocab_size"),
        without("max_position_embeddings"),
    ];
    insta::assert_snapshot!(messages(&cases));
}

/// A safetensors file of this header.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

#[test]
fn weights_of_models() {
    let whole = std::fs::read(fixture("superplm/model.safetensors")).expect("reads");
    let length = u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
    let (header, data) = whole[8..].split_at(length);
    let header = std::str::from_utf8(header).expect("text").trim_end();
    let parsed: Value = serde_json::from_str(header).expect("JSON");
    let of_file =
        |about: &str, bytes: Vec<u8>| export(about).file("superplm/model.safetensors", bytes);
    let of_header = |about: &str, change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut value = parsed.clone();
        change(value.as_object_mut().expect("an object"));
        of_file(about, safetensors(&value.to_string(), data))
    };
    const NAME: &str = "encoder.layer.1.attention.self.key.weight";
    let of_tensor = |about: &str, key: &'static str, new: Value| {
        of_header(about, &move |tensors| tensors[NAME][key] = new.clone())
    };
    let with_value = |about: &str, value: f32| {
        let mut data = data.to_vec();
        data[..4].copy_from_slice(&value.to_le_bytes());
        of_file(about, safetensors(header, &data))
    };
    let no_weights = |about: &str| {
        Case::new(about, EXPORT)
            .file("superplm/config.json", text("superplm/config.json"))
            .file("superplm/vocab.txt", text("superplm/vocab.txt"))
    };
    let pickle =
        |about: &str, bytes: Vec<u8>| no_weights(about).file("superplm/pytorch_model.bin", bytes);
    let index = |about: &str, text: &str| {
        no_weights(about).file("superplm/model.safetensors.index.json", text)
    };
    let cases = [
        of_file("an empty file", Vec::new()),
        of_file("seven bytes", vec![1; 7]),
        of_file("no header", 0_u64.to_le_bytes().to_vec()),
        of_file("a header of 2^63 bytes", (1_u64 << 63).to_le_bytes().to_vec()),
        of_file("a header of 2^64 - 1 bytes", u64::MAX.to_le_bytes().to_vec()),
        of_file("text", b"these are my notes, not weights".to_vec()),
        of_file("NULs", vec![0; 64]),
        of_file("a header that is no JSON", safetensors("my notes", &[])),
        of_file("a header that is a list", safetensors("[]", &[])),
        of_file("a header without tensors", safetensors("{}", &[])),
        of_file("brackets in brackets", safetensors(&"[".repeat(20_000), &[])),
        of_file("cut in the middle", whole[..whole.len() / 2].to_vec()),
        of_file("a byte too short", whole[..whole.len() - 1].to_vec()),
        of_file("a byte too long", [&whole[..], &[0]].concat()),
        of_tensor("a shape without a number", "shape", json!([u64::MAX, u64::MAX])),
        of_tensor("a negative shape", "shape", json!([-1, 48])),
        of_tensor("another shape", "shape", json!([24, 96])),
        of_tensor("a shape of nine axes", "shape", json!([1, 1, 1, 1, 1, 1, 1, 48, 48])),
        of_tensor("a place before the file", "data_offsets", json!([-4, 0])),
        of_tensor("a place behind the file", "data_offsets", json!([1_u64 << 60, 1_u64 << 61])),
        of_tensor("a place that ends before it begins", "data_offsets", json!([96, 0])),
        of_tensor("another type", "dtype", json!("I64")),
        of_tensor("a type that is none", "dtype", json!("F7")),
        of_tensor("a type of another size", "dtype", json!("F16")),
        of_header("a tensor less", &|tensors| {
            tensors.remove(NAME).expect("the tensor");
        }),
        of_header("a tensor of another name", &|tensors| {
            let tensor = tensors.remove(NAME).expect("the tensor");
            tensors.insert("encoder.layer.1.attention.self.kay.weight".to_owned(), tensor);
        }),
        with_value("a weight that is no number", f32::NAN),
        with_value("a weight that is infinite", f32::INFINITY),
        no_weights("no weights"),
        export("a pipe").pipe("superplm/model.safetensors"),
        pickle("a pickle of nothing", Vec::new()),
        pickle("a pickle that is text", b"these are my notes, not weights".to_vec()),
        pickle("a pickle that is no archive", b"PK\x03\x04".repeat(8)),
        index("an index of nothing", ""),
        index("an index without a map", "{}"),
        index("an index of missing shards", "{\"weight_map\": {\"a\": \"missing.safetensors\"}}"),
        index("an index of other folders", "{\"weight_map\": {\"a\": \"../x.safetensors\"}}"),
        index("an index of numbers", "{\"weight_map\": {\"a\": 7}}"),
    ];
    insta::assert_snapshot!(messages(&cases));
}

#[test]
fn vocabularies_of_models() {
    let words = text("superplm/vocab.txt");
    let of_file = |about: &str, bytes: Vec<u8>| export(about).file("superplm/vocab.txt", bytes);
    let tokenizer = |about: &str, text: &str| export(about).file("superplm/tokenizer.json", text);
    let config =
        |about: &str, text: &str| export(about).file("superplm/tokenizer_config.json", text);
    let mut few: Vec<&str> = words.lines().collect();
    few.truncate(30_000);
    let mut twice: Vec<&str> = words.lines().collect();
    twice[2000] = "the";
    let cases = [
        of_file("an empty file", Vec::new()),
        of_file("bytes that are no text", b"[PAD]\n\xff\xfe\n".to_vec()),
        of_file("one word", b"word\n".to_vec()),
        of_file("no [MASK]", words.replace("[MASK]", "[MISS]").into_bytes()),
        of_file("another number of words", few.join("\n").into_bytes()),
        of_file("a word twice", twice.join("\n").into_bytes()),
        tokenizer("a tokenizer of nothing", ""),
        tokenizer("a tokenizer that is text", "my notes"),
        tokenizer("a tokenizer that is an empty object", "{}"),
        config("a tokenizer's configuration of nothing", ""),
        config("a tokenizer's configuration of numbers", "{\"do_lower_case\": 7}"),
        Case::new("no vocabulary", EXPORT)
            .file("superplm/config.json", text("superplm/config.json"))
            .file(
                "superplm/model.safetensors",
                std::fs::read(fixture("superplm/model.safetensors")).expect("reads"),
            ),
    ];
    insta::assert_snapshot!(messages(&cases));
}

#[test]
fn places_to_write_models_to() {
    let superplm = |about: &str, arguments: &str| Case::new(about, arguments).shared("superplm");
    let extract = "extract --superplm superplm --arch 1-36-32-12-36";
    let cases = [
        superplm("a longer sequence than positions", "export superplm --sequence 600 --out out"),
        superplm(
            "a head that is none",
            "export superplm --sequence 16 --head crystal-ball --out out",
        ),
        superplm(
            "a head that the model lacks",
            "export superplm --sequence 16 --head question-answering --out out",
        ),
        superplm("a folder of somebody's", "export superplm --sequence 16 --out notes")
            .file("notes/thesis.txt", "precious"),
        superplm("a file of somebody's", "export superplm --sequence 16 --out notes")
            .file("notes", "precious"),
        superplm("a file in the way", "export superplm --sequence 16 --out notes/out")
            .file("notes", "precious"),
        superplm("a model in a folder of somebody's", &format!("{extract} --out notes"))
            .file("notes/thesis.txt", "precious"),
        superplm("a model over a file", &format!("{extract} --out notes"))
            .file("notes", "precious"),
        superplm(
            "more layers than there are",
            "extract --superplm superplm --arch 3-36-32-12-36 --out x",
        ),
        superplm(
            "more heads than there are",
            "extract --superplm superplm --arch 1-36-32-24-48 --out x",
        ),
        superplm(
            "a wider layer than there is",
            "extract --superplm superplm --arch 1-36-80-12-36 --out x",
        ),
        superplm(
            "a fine-tuned model in a folder of somebody's",
            "finetune superplm --task mood.toml --out notes",
        )
        .file("notes/thesis.txt", "precious"),
    ];
    insta::assert_snapshot!(messages(&cases));
}
