//! Models on tasks: the same scores whichever way a model is run, and refusals by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use atb_export::{Options, export};
use atb_space::{Precision, Workload};
use atb_superplm::{SuperPlm, extract};
use atb_tasks::{
    EvaluateSettings, Evaluation, Frequencies, Model, Outcomes, Split, Task, compare, evaluate,
};
use atb_text::Tokenizer;
use miette::Diagnostic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

const PAIRS: &str = "first\tsecond\tscore\n\
    The battery lasts two days.\tIt runs for two days on one charge.\t4.5\n\
    The screen is bright.\tA cat sleeps on the sofa.\t0\n\
    A cat sleeps.\tThe cat is asleep on the old red sofa in the hall.\t4\n\
    It charges quickly.\tCharging takes a moment.\t3.5\n";

const TASKS: [(&str, &str); 2] = [
    ("similar.toml", "name = 'similar'\nkind = 'similarity'\nrange = [0, 5]\ntarget = 'score'\n"),
    ("found.toml", "name = 'found'\nkind = 'retrieval'\n"),
];

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    /// A model folder with random weights, and tasks.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fixture = Self { folder };
        fs_err::write(fixture.path("pairs.tsv"), PAIRS).expect("writes");
        for (name, text) in TASKS {
            let rest = "first = 'first'\nsecond = 'second'\nsplits = { dev = 'pairs.tsv' }\n";
            fs_err::write(fixture.path(name), format!("{text}{rest}")).expect("writes");
        }
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let plm = SuperPlm::random("2-32-64-4-32".parse().expect("an architecture"), tokenizer, 5);
        let plm = plm.expect("makes");
        extract(&plm, plm.architecture(), &fixture.path("model")).expect("writes");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn model(&self, name: &str) -> Model {
        let (kind, name) = name.split_once(':').map_or(("", name), |(kind, name)| (kind, name));
        let colon = if kind.is_empty() { "" } else { ":" };
        Model::open(&format!("{kind}{colon}{}", self.path(name).display())).expect("opens")
    }

    fn task(&self, name: &str) -> (Task, Split) {
        let task = Task::read(&self.path(name)).expect("reads");
        let split = task.read_split(None, "dev").expect("reads");
        (task, split)
    }

    /// Exports the model as the bundle.
    fn export(&self, options: &Options) {
        export(&self.path("model"), options, &self.path("bundle")).expect("exports");
    }

    fn evaluate(&self, model: &str, task: &str) -> Evaluation {
        let (task, split) = self.task(task);
        evaluate(&self.model(model), &task, &split, None, &settings()).expect("evaluates")
    }

    fn refusal(&self, model: &str, task: &str) -> String {
        let (task, split) = self.task(task);
        let error = evaluate(&self.model(model), &task, &split, None, &settings());
        let error = error.expect_err("refused");
        let help = error.help().map(|help| help.to_string()).unwrap_or_default();
        format!("{error}\n  help: {help}\n")
            .replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// Gives the model folder a tensor more, and `config.json` keys.
    fn add(&self, tensors: &[(&str, Vec<usize>, Vec<f32>)], keys: &[(&str, serde_json::Value)]) {
        let path = self.path("model/model.safetensors");
        let bytes = fs_err::read(&path).expect("reads");
        let old = SafeTensors::deserialize(&bytes).expect("reads");
        let new: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, shape, values)| {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                ((*name).to_owned(), shape.clone(), bytes)
            })
            .collect();
        let mut all: HashMap<String, TensorView<'_>> = old.tensors().into_iter().collect();
        for (name, shape, bytes) in &new {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor");
            all.insert(name.clone(), view);
        }
        fs_err::write(&path, serialize(all, None).expect("serializes")).expect("writes");
        let path = self.path("model/config.json");
        let mut config: serde_json::Value =
            serde_json::from_str(&fs_err::read_to_string(&path).expect("reads")).expect("JSON");
        for (key, value) in keys {
            config[*key] = value.clone();
        }
        fs_err::write(&path, config.to_string()).expect("writes");
    }
}

fn settings() -> EvaluateSettings {
    EvaluateSettings { resamples: 50, ..EvaluateSettings::default() }
}

fn predicted(evaluation: &Evaluation) -> &[f64] {
    let Outcomes::Scores { predicted, .. } = &evaluation.outcomes else { panic!("scores") };
    predicted
}

fn alike(one: &[f64], other: &[f64]) {
    assert_eq!(one.len(), other.len());
    for (a, b) in one.iter().zip(other) {
        assert!((a - b).abs() < 1e-5, "{one:?} {other:?}");
    }
}

#[test]
fn folder_bundle_and_file_give_the_same_embeddings() {
    let fixture = Fixture::new();
    let workload = Workload { batch: 3, sequence: 32 };
    fixture.export(&Options { workload, ..Options::default() });
    let folder = fixture.evaluate("model", "similar.toml");
    assert_eq!(folder.examples, 4);
    assert_eq!(folder.scores[0].metric.to_string(), "spearman");
    for other in ["bundle", "bundle/model.onnx"] {
        alike(predicted(&folder), predicted(&fixture.evaluate(other, "similar.toml")));
    }
    // With a projection the embedding is what it gives, in a file as in a folder.
    let projection = (0..32 * 8).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0).collect();
    fixture.add(&[("kd_projection.weight", vec![8, 32], projection)], &[]);
    fixture.export(&Options { workload, ..Options::default() });
    let projected = fixture.evaluate("model", "similar.toml");
    assert_ne!(predicted(&projected), predicted(&folder));
    alike(predicted(&projected), predicted(&fixture.evaluate("bundle", "similar.toml")));
    let ranks = fixture.evaluate("model", "found.toml");
    assert_eq!(ranks.outcomes, fixture.evaluate("bundle", "found.toml").outcomes);
}

#[test]
fn a_static_table_is_that_of_the_words_wherever_they_are_read() {
    let fixture = Fixture::new();
    let workload = Workload { batch: 1, sequence: 16 };
    fixture.export(&Options { workload, ..Options::default() });
    let of_folder = fixture.evaluate("static:model", "similar.toml");
    alike(predicted(&of_folder), predicted(&fixture.evaluate("static:bundle", "similar.toml")));
    fixture.export(&Options { workload, precision: Precision::Int8, ..Options::default() });
    let of_integers = fixture.evaluate("static:bundle", "similar.toml");
    for (a, b) in predicted(&of_integers).iter().zip(predicted(&of_folder)) {
        assert!(a != b && (a - b).abs() < 0.01, "{a} {b}");
    }
    let (task, split) = fixture.task("similar.toml");
    let model = fixture.model("static-idf:model");
    let frequencies = Frequencies::of(model.tokenizer(), &split.texts()).expect("counts");
    let weighted = evaluate(&model, &task, &split, Some(&frequencies), &settings());
    assert_ne!(predicted(&weighted.expect("evaluates")), predicted(&of_folder));
}

#[test]
fn differences_are_between_the_same_examples() {
    let fixture = Fixture::new();
    let one = fixture.evaluate("model", "similar.toml");
    let other = fixture.evaluate("static:model", "similar.toml");
    let differences = compare(&one, &other, &settings()).expect("the same examples");
    for (difference, (one, other)) in differences.iter().zip(one.scores.iter().zip(&other.scores)) {
        let expected = one.value.expect("defined") - other.value.expect("defined");
        assert!((difference.value.expect("defined") - expected).abs() < 1e-12);
    }
    let retrieval = fixture.evaluate("model", "found.toml");
    assert!(compare(&one, &retrieval, &settings()).is_err());
}

/// A classifier whose pooler gives zero and whose bias decides: label 1 by number.
fn classifier(fixture: &Fixture, keys: &[(&str, serde_json::Value)]) {
    let tensors = [
        ("classifier.weight", vec![2, 32], vec![0.0; 64]),
        ("classifier.bias", vec![2], vec![0.0, 1.0]),
    ];
    fixture.add(&tensors, keys);
}

fn sentiment(fixture: &Fixture) {
    fs_err::write(
        fixture.path("rows.csv"),
        "label,text\nbad,Dull\ngood,Fine\ngood,Bright and quick\n",
    )
    .expect("writes");
    let task = "name = 'mood'\nkind = 'classification'\nlabels = ['bad', 'good']\nfirst = 'text'\n\
                target = 'label'\nsplits = { dev = 'rows.csv' }\n";
    fs_err::write(fixture.path("mood.toml"), task).expect("writes");
}

#[test]
fn labels_go_by_their_names_and_a_model_of_another_task_is_refused() {
    let fixture = Fixture::new();
    sentiment(&fixture);
    let accuracy = |fixture: &Fixture| fixture.evaluate("model", "mood.toml").scores[0].value;
    classifier(&fixture, &[]);
    assert_eq!(accuracy(&fixture), Some(2.0 / 3.0));
    classifier(&fixture, &[("id2label", serde_json::json!({"0": "Good", "1": "Bad"}))]);
    assert_eq!(accuracy(&fixture), Some(1.0 / 3.0));
    classifier(&fixture, &[("finetuning_task", "CoLA".into())]);
    insta::assert_snapshot!(fixture.refusal("model", "mood.toml"), @r"
    model was fine-tuned on CoLA, not on mood
      help: evaluate it on CoLA, or take a model that was fine-tuned on mood
    ");
    // Embeddings need no fine-tuning.
    fixture.evaluate("model", "similar.toml");
}

#[test]
fn what_a_model_does_not_give_is_named_with_what_to_do() {
    let fixture = Fixture::new();
    sentiment(&fixture);
    let mut texts = fixture.refusal("model", "mood.toml");
    texts.push_str(&fixture.refusal("static:model", "mood.toml"));
    let tensors = [
        ("classifier.weight", vec![3, 32], vec![0.0; 96]),
        ("classifier.bias", vec![3], vec![0.0; 3]),
    ];
    fixture.add(&tensors, &[]);
    texts.push_str(&fixture.refusal("model", "mood.toml"));
    insta::assert_snapshot!(texts);
    let error = Model::open("/nowhere/model").expect_err("none").to_string();
    assert_eq!(error, "/nowhere/model is no model");
}

#[test]
fn answers_are_found_with_windows_over_a_long_text() {
    let fixture = Fixture::new();
    // Begin and end are likeliest where the states say so; only the way through is checked.
    let weights = (0..64).map(|i| ((i * 29 % 53) as f32 - 26.0) / 20.0).collect();
    let tensors =
        [("qa_outputs.weight", vec![2, 32], weights), ("qa_outputs.bias", vec![2], vec![0.0; 2])];
    fixture.add(&tensors, &[]);
    let context = "The first paragraph says little. ".repeat(30) + "It opened in 1973.";
    let start = context.find("1973").expect("there");
    let squad = serde_json::json!({"data": [{"paragraphs": [{"context": context, "qas": [
        {"id": "q1", "question": "When did it open?", "answers": [{"text": "1973", "answer_start": start}]},
    ]}]}]});
    fs_err::write(fixture.path("dev-v1.1.json"), squad.to_string()).expect("writes");
    let task = Task::find("SQuAD").expect("built in");
    let split = task.read_split(Some(fixture.folder.path()), "dev").expect("reads");
    let run = |model: &str| {
        let settings = EvaluateSettings { span_sequence: 48, span_stride: 20, ..settings() };
        evaluate(&fixture.model(model), &task, &split, None, &settings).expect("evaluates")
    };
    let workload = Workload { batch: 2, sequence: 48 };
    fixture.export(&Options { workload, ..Options::default() });
    let folder = run("model");
    let Outcomes::Answers { exact, f1 } = &folder.outcomes else { panic!("answers") };
    assert_eq!((exact.len(), f1.len()), (1, 1));
    assert_eq!(folder.outcomes, run("bundle").outcomes);
    assert!(Path::new(folder.model.as_str()).ends_with("model"));
}
