//! What a run, a search or a training continues.

use crate::case::{Case, messages};
use crate::fixtures::{WHOLE, text};

#[test]
fn states_of_a_run() {
    let config = "target = \"asked.toml\"\nsuperplm = \"superplm\"\noutput = \"out\"\n\
                  [space]\nname = \"small\"\nlayers = { min = 1, max = 2 }\nhidden = 48\n\
                  intermediate = 64\nheads = 12\nqkv = 48\n\
                  [fitness]\nsequence_length = 16\nparagraphs = 2\n";
    let run =
        |about: &str| Case::new(about, "run job.toml").shared("superplm").file("job.toml", config);
    let state = |about: &str, text: &str| run(about).file("out/state.json", text);
    let cases = [
        state("a state of nothing", ""),
        state("a state that is text", "my notes"),
        state("a state that is a list", "[]"),
        state("a newer state", "{\"schema\": 9, \"steps\": {}}"),
        state("a state without steps", "{\"schema\": 2}"),
        state("a state of wrong steps", "{\"schema\": 2, \"steps\": {\"fit\": 7}}"),
        run("a winner of somebody's").file("out/winner/thesis.txt", "precious"),
        run("a file in place of the output").file("out", "precious"),
        run("measurements of another device")
            .file("out/measurements.jsonl", text("measurements.jsonl")),
        run("measurements that are none").file("out/measurements.jsonl", "my notes\n"),
        run("a SuperPLM that the space does not fit")
            .file("job.toml", config.replace("hidden = 48", "hidden = 96")),
    ];
    insta::assert_snapshot!(messages(&cases));
}

#[test]
fn evaluations_of_a_search() {
    let search = |about: &str| {
        let arguments = format!(
            "search --superplm superplm --speedup 1.2 --baseline {WHOLE} --low 0.1 --high 9"
        );
        Case::new(about, &arguments).shared("superplm").shared("predictor.json")
    };
    let store = |about: &str, text: &str| search(about).file("evaluations.jsonl", text);
    let cases = [
        store("no evaluations but notes", "my notes\n"),
        store("notes without an end", "my notes"),
        store("newer evaluations", "{\"schema\": 9, \"fitness\": \"x\", \"digest\": \"y\"}\n"),
        store(
            "evaluations of another fitness",
            "{\"schema\": 1, \"fitness\": \"x\", \"digest\": \"y\"}\n",
        ),
        search("a folder as evaluations").folder("evaluations.jsonl"),
        search("a predictor that is none").file("predictor.json", "my notes"),
        search("no predictor").file("predictor.json", ""),
        Case::new(
            "a baseline that was not measured",
            "search --superplm superplm --speedup 1.2 --baseline 1-36-48-12-36",
        )
        .shared("superplm")
        .shared("predictor.json"),
        Case::new("a latency that nothing has", "search --superplm superplm --latency-ms 1e8")
            .shared("superplm")
            .shared("predictor.json"),
        Case::new(
            "a speed-up that nothing has",
            &format!("search --superplm superplm --speedup 1e6 --baseline {WHOLE}"),
        )
        .shared("superplm")
        .shared("predictor.json"),
    ];
    insta::assert_snapshot!(messages(&cases));
}
