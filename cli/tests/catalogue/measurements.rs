//! Measurement files.

use crate::case::{Case, messages};
use crate::fixtures::text;

fn fit(about: &str, text: impl Into<Vec<u8>>) -> Case {
    Case::new(about, "fit m.jsonl --space space.toml").file("m.jsonl", text).shared("space.toml")
}

#[test]
fn measurement_files() {
    let whole = text("measurements.jsonl");
    let lines: Vec<&str> = whole.lines().collect();
    let (header, record) = (lines[0], lines[1]);
    let of_header = |about: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::from_str(header).expect("a header");
        change(&mut value);
        fit(about, whole.replacen(header, &value.to_string(), 1))
    };
    let of_record = |about: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::from_str(record).expect("a record");
        change(&mut value);
        fit(about, whole.replacen(record, &value.to_string(), 1))
    };
    let without = |key: &'static str| {
        move |value: &mut serde_json::Value| {
            value.as_object_mut().expect("an object").remove(key).expect("the key");
        }
    };
    let set = |pointer: &'static str, new: &'static str| {
        move |value: &mut serde_json::Value| {
            let new = serde_json::from_str(new).expect("JSON");
            match value.pointer_mut(pointer) {
                Some(old) => *old = new,
                None => {
                    let (place, key) = pointer.rsplit_once('/').expect("a key");
                    value.pointer_mut(place).expect("there")[key] = new;
                }
            }
        }
    };
    let line = |about: &str, line: &str| fit(about, format!("{header}\n{line}\n"));
    let cases = [
        fit("an empty file", ""),
        fit("no JSON", "my notes\n"),
        fit("JSON of something else", "{\"notes\": 1}\n"),
        fit("a number", "7\n"),
        fit("an incomplete header", &header[..header.len() / 2]),
        fit("a header alone", format!("{header}\n")),
        fit("a record alone", format!("{record}\n")),
        fit("two headers", format!("{header}\n{header}\n{record}\n")),
        fit("bytes that are no text", b"{\"schema\": \"\xff\xfe\"}\n".to_vec()),
        fit("NULs", vec![0; 64]),
        fit("twenty thousand brackets", format!("{}\n", "[".repeat(20_000))),
        Case::new("a folder", "fit m.jsonl").folder("m.jsonl"),
        of_header("a newer schema", &set("/schema", "9")),
        of_header("a schema in words", &set("/schema", "\"one\"")),
        of_header("a negative schema", &set("/schema", "-1")),
        of_header("no schema", &without("schema")),
        of_header("no target", &without("target")),
        of_header("no protocol", &without("protocol")),
        of_header("no agent", &without("agent")),
        of_header("a sequence length of 0", &set("/protocol/workload/sequence", "0")),
        of_header("a batch of 2^63", &set("/protocol/workload/batch", "9223372036854775808")),
        of_header("no threads", &set("/protocol/threads", "0")),
        of_header("a reference that is none", &set("/protocol/reference", "\"1-2-3\"")),
        of_header("a huge reference", &set("/protocol/reference", "\"1-9999999-1-1-1\"")),
        of_header("an unknown key of the protocol", &set("/protocol/colour", "1")),
        line("a line that is no JSON", "oops"),
        line("a line that is cut", &record[..record.len() / 2]),
        line("a list", "[]"),
        line("an empty object", "{}"),
        of_record("no subject", &without("subject")),
        of_record("no role", &without("role")),
        of_record("a role that is none", &set("/role", "\"spare\"")),
        of_record("a subject that is none", &set("/subject", "\"4-256\"")),
        of_record("no samples", &set("/samples_us", "[]")),
        of_record("one sample more than references", &|value| {
            value["samples_us"].as_array_mut().expect("samples").push(serde_json::json!(10.0));
        }),
        of_record("a sample of 0", &set("/samples_us/0", "0.0")),
        of_record("a negative sample", &set("/samples_us/0", "-5.0")),
        of_record("a sample of 1e308", &set("/samples_us/0", "1e308")),
        of_record("a sample in words", &set("/samples_us/0", "\"fast\"")),
        of_record("a null sample", &set("/samples_us/0", "null")),
        of_record("references of 1e-308", &|value| {
            for sample in value["reference_us"].as_array_mut().expect("samples") {
                *sample = serde_json::json!(1e-308);
            }
        }),
        of_record("a flag that is none", &set("/flags", "[\"shiny\"]")),
        fit("two measurements", format!("{header}\n{record}\n{}\n", lines[2])),
        fit(
            "one measurement twenty times",
            format!("{header}\n{}", format!("{record}\n").repeat(20)),
        ),
        Case::new("of another space", "fit m.jsonl --space mlm").file("m.jsonl", whole.clone()),
    ];
    insta::assert_snapshot!(messages(&cases));
}

#[test]
fn measurement_files_that_cannot_be_continued() {
    let whole = text("measurements.jsonl");
    let target = "name = \"simulated-phone\"\n[transport]\nkind = \"command\"\n\
                  prefix = [\"sh\", \"-c\", \"touch asked; exit 1\"]\n";
    let profile = |about: &str, flags: &str| {
        Case::new(
            about,
            &format!("profile --target t.toml --space space.toml --sequence 16 {flags}"),
        )
        .file("t.toml", target)
        .file("measurements.jsonl", whole.clone())
        .shared("space.toml")
    };
    let cases = [
        profile("another target", "--target t.toml")
            .file("t.toml", target.replace("simulated-phone", "other")),
        profile("another sequence length", "--batch 2"),
        profile("other threads", "--threads 2"),
        profile("a damaged line", "").file("measurements.jsonl", format!("{whole}oops\n")),
        profile("something else", "").file("measurements.jsonl", "my notes\n"),
        profile("something else, incomplete", "").file("measurements.jsonl", "my notes"),
        profile("a folder", "--out out").folder("out"),
        Case::new(
            "a bench that cannot be continued",
            "bench model.onnx --target t.toml --out measurements.jsonl",
        )
        .file("t.toml", target)
        .file("model.onnx", "")
        .file("measurements.jsonl", whole.clone()),
    ];
    insta::assert_snapshot!(messages(&cases));
}
