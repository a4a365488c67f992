//! Predictor files.

use serde_json::Value;

use crate::case::{Case, messages};
use crate::fixtures::{WHOLE, text};

fn predict(about: &str, text: impl Into<Vec<u8>>) -> Case {
    Case::new(about, &format!("predict {WHOLE}")).file("predictor.json", text)
}

#[test]
fn predictor_files() {
    let whole = text("predictor.json");
    let parsed: Value = serde_json::from_str(&whole).expect("JSON");
    let set = |pointer: &str, new: &str| {
        let mut value = parsed.clone();
        let (place, key) = pointer.rsplit_once('/').expect("a key");
        let new = serde_json::from_str(new).expect("JSON");
        let parent = value.pointer_mut(place).unwrap_or_else(|| panic!("there is no {place}"));
        match parent.as_array_mut() {
            Some(list) => list[key.parse::<usize>().expect("an index")] = new,
            None => parent[key] = new,
        }
        predict(
            &format!("{pointer} = {}", &value_excerpt(&new_text(&value, pointer))),
            value.to_string(),
        )
    };
    let without = |key: &str| {
        let mut value = parsed.clone();
        value.as_object_mut().expect("an object").remove(key).expect("the key");
        predict(&format!("without {key}"), value.to_string())
    };
    let cases = [
        predict("an empty file", ""),
        predict("no JSON", "my notes"),
        predict("a list", "[]"),
        predict("an empty object", "{}"),
        predict("a number", "7"),
        predict("cut in the middle", &whole[..whole.len() / 2]),
        predict("something after it", format!("{whole} and more")),
        predict("bytes that are no text", b"{\"schema\": \"\xff\"}".to_vec()),
        predict("NULs", vec![0; 64]),
        predict("twenty thousand brackets", "[".repeat(20_000)),
        predict("a measurement file", text("measurements.jsonl")),
        Case::new("a folder", &format!("predict {WHOLE}")).folder("predictor.json"),
        set("/schema", "9"),
        set("/schema", "-1"),
        set("/schema", "\"two\""),
        set("/quantity", "\"colour\""),
        set("/quantity", "\"\\u001b[2J\""),
        set("/workloads/0/batch", "0"),
        set("/workloads/0/sequence", "18446744073709551615"),
        set("/workloads/0/sequence", "-1"),
        set("/workloads", "[]"),
        set("/space/layers", "{\"min\": 0, \"max\": 2}"),
        set("/space/hidden", "{\"min\": 5, \"max\": 2}"),
        set("/space/intermediate", "{\"min\": 1, \"max\": 9223372036854775807}"),
        set("/model/kind", "\"oracle\""),
        set("/model/kind", "\"forest\""),
        set("/model", "{}"),
        set("/model", "null"),
        set("/baselines/0/arch", "\"12-768\""),
        set("/baselines/0/value", "null"),
        set("/baselines/0/value", "-1.0"),
        set("/sources/0/reference_ms", "0.0"),
        set("/sources/0/reference_ms", "null"),
        set("/validation", "{}"),
        without("schema"),
        without("space"),
        without("model"),
        without("workloads"),
        without("sources"),
    ];
    insta::assert_snapshot!(messages(&cases));
}

fn new_text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map_or_else(String::new, Value::to_string)
}

fn value_excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

#[test]
fn models_in_predictor_files() {
    let whole: Value = serde_json::from_str(&text("predictor.json")).expect("JSON");
    let model = |about: &str, change: &dyn Fn(&mut Value)| {
        let mut value = whole.clone();
        change(&mut value["model"]);
        predict(about, value.to_string())
    };
    let machine = |key: &'static str, new: u64| {
        move |model: &mut Value| {
            let text = model.to_string();
            let begin = text.find(&format!("\"{key}\":")).expect("the key") + key.len() + 3;
            let end = begin + text[begin..].find([',', '}']).expect("an end");
            let changed = format!("{}{new}{}", &text[..begin], &text[end..]);
            *model = serde_json::from_str(&changed).expect("JSON");
        }
    };
    let coefficient = |new: &'static str| {
        move |model: &mut Value| {
            let new = serde_json::from_str(new).expect("JSON");
            let coefficients = model["coefficients"].as_object_mut().expect("coefficients");
            *coefficients.values_mut().next().expect("one") = new;
        }
    };
    let cases = [
        model("a tile of no rows", &machine("tile_rows", 0)),
        model("a tile of many rows", &machine("tile_rows", u64::MAX)),
        model("chunks of no rows", &machine("row_chunk", 0)),
        model("chunks of many rows", &machine("row_chunk", u64::MAX)),
        model("a negative coefficient", &coefficient("-1.0")),
        model("a coefficient of 0", &coefficient("0.0")),
        model("a null coefficient", &coefficient("null")),
        model("an unknown feature", &|model| model["coefficients"]["luck"] = 1.0.into()),
        model("no covariance", &|model| model["covariance"] = Value::Array(Vec::new())),
        model("a crooked covariance", &|model| {
            model["covariance"][0] = Value::Array(Vec::new());
        }),
        model("no coefficients", &|model| model["coefficients"] = Value::Null),
        model("an unknown key", &|model| model["colour"] = 1.into()),
    ];
    insta::assert_snapshot!(messages(&cases));
}
