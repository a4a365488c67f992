//! Bundles as an app opens them: every way in, every kind of answer, and bundles that are none.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use atb_export::{Bundle, Options, export};
use atb_runtime::{Bytes, Cancellation, Model, ModelError, OpenOptions, Outputs, Task, TextModel};
use atb_space::Workload;
use atb_text::Tokenizer;
use serde_json::json;

use crate::common::{HIDDEN, configure, model};

const WORKLOAD: Workload = Workload { batch: 2, sequence: 32 };
const TEXTS: [&str; 3] = ["The battery lasts two days.", "two roads", "It charges quickly."];

fn linear(module: &str, width: usize) -> Vec<(String, Vec<usize>)> {
    vec![(format!("{module}.weight"), vec![width, HIDDEN]), (format!("{module}.bias"), vec![width])]
}

/// A bundle of a small model with a linear layer of this name and width, in a folder and in one
/// file.
struct App {
    folder: tempfile::TempDir,
    bundle: Bundle,
}

impl App {
    fn new(module: &str, width: usize, keys: &serde_json::Value, options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model");
        let further = if width == 0 { Vec::new() } else { linear(module, width) };
        model(&path, |_| true, &further);
        configure(&path, keys);
        let options = Options { workload: WORKLOAD, ..options };
        let bundle = export(&path, &options, &folder.path().join("bundle")).expect("exports");
        bundle.pack(&folder.path().join("bundle.atb")).expect("packs");
        Self { folder, bundle }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("bundle.atb")
    }

    fn open(&self) -> Model {
        Model::open(self.bundle.folder()).expect("opens")
    }

    /// What the session says of a text.
    fn outputs(&self, text: &str) -> Outputs {
        let mut model = TextModel::open(self.bundle.folder()).expect("opens");
        model.run(&[text]).expect("runs").remove(0).1
    }
}

fn classifier() -> App {
    let labels = json!({ "0": "bad", "1": "fair", "2": "good" });
    App::new("classifier", 3, &json!({ "id2label": labels }), Options::default())
}

#[test]
fn labels_come_with_probabilities_whichever_way_a_bundle_is_opened() {
    let app = classifier();
    let model = app.open();
    assert!(model.gives(Task::Classify) && !model.gives(Task::Score) && !model.gives(Task::Embed));
    assert_eq!(model.labels(), ["bad", "fair", "good"]);
    model.warm_up().expect("runs");
    let found = model.classify(&TEXTS).expect("runs");
    assert_eq!(found.len(), 3);
    let logits = &app.outputs(TEXTS[1]).get("logits").expect("logits").values[..3].to_vec();
    let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
    for label in &found[1] {
        let expected = logits[label.index].exp() / sum;
        assert!((label.probability - expected).abs() < 1e-6, "{label:?} and {expected}");
        assert_eq!(label.name, model.labels()[label.index]);
    }
    assert!(found[1].is_sorted_by(|a, b| a.probability >= b.probability));
    assert!(model.classify::<&str>(&[]).expect("runs").is_empty());
    // A pair is another text.
    let pair = model.probabilities(&[("two", "roads")]).expect("runs");
    assert_ne!(pair, model.probabilities(&["two roads"]).expect("runs"));

    let bytes = std::fs::read(app.file()).expect("reads");
    let middle = app.folder.path().join("middle");
    std::fs::write(&middle, [&[1; 4099][..], &bytes, &[2; 3]].concat()).expect("writes");
    let middle = File::open(&middle).expect("opens");
    let length = Some(bytes.len() as u64);
    for other in [
        Model::open(&app.file()),
        Model::from_bytes(bytes),
        Model::from_file(&middle, 4099, length),
    ] {
        assert_eq!(other.expect("opens").classify(&TEXTS).expect("runs"), found);
    }
}

#[test]
fn any_number_of_labels_may_fit_where_the_model_is_meant_so() {
    let keys = json!({ "problem_type": "multi_label_classification" });
    let app = App::new("classifier", 2, &keys, Options::default());
    let found = app.open().probabilities(&["one"]).expect("runs").remove(0);
    let outputs = app.outputs("one");
    for (probability, logit) in found.iter().zip(&outputs.get("logits").expect("logits").values) {
        assert!((probability - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
    }
    assert_eq!(app.open().labels(), ["LABEL_0", "LABEL_1"]);
}

#[test]
fn scores_stay_in_their_range() {
    let score_range = Some([0.0, 0.25]);
    let options = Options { score_range, ..Options::default() };
    let app = App::new("classifier", 1, &json!({ "id2label": { "0": "score" } }), options);
    let model = app.open();
    assert!(model.gives(Task::Score) && !model.gives(Task::Classify));
    assert_eq!(model.score_range(), score_range);
    for (text, score) in TEXTS.iter().zip(model.score(&TEXTS).expect("runs")) {
        let logit = app.outputs(text).get("logits").expect("logits").values[0];
        assert!((score - logit.clamp(0.0, 0.25)).abs() < 1e-6, "{score} and {logit}");
    }
    let error = model.classify(&TEXTS).expect_err("a number is no label").to_string();
    assert!(error.contains("has no output of the kind logits of labels"), "{error}");
}

#[test]
fn embeddings_are_of_length_one_where_the_model_is_meant_so() {
    for normalised in [false, true] {
        let options = Options { normalised: Some(normalised), ..Options::default() };
        let app = App::new("", 0, &json!({}), options);
        let model = app.open();
        assert_eq!(model.embedding_size(), Some(HIDDEN));
        let found = model.embed(&TEXTS).expect("runs");
        let mut text_model = TextModel::open(app.bundle.folder()).expect("opens");
        for (one, plain) in found.iter().zip(text_model.embed(&TEXTS).expect("runs")) {
            let length = plain.iter().map(|value| value * value).sum::<f32>().sqrt();
            let scale = if normalised { length } else { 1.0 };
            for (one, plain) in one.iter().zip(plain) {
                assert!((one * scale - plain).abs() < 1e-5, "{one} and {plain}");
            }
        }
    }
}

#[test]
fn answers_are_parts_of_the_text() {
    let app = App::new("qa_outputs", 2, &json!({}), Options::default());
    let model = app.open();
    let text = "The caf\u{e9} \u{1f600} opened in 1973. It closed in 1981, to nobody's surprise. "
        .repeat(4);
    let answers = model.answer("When did it close?", &text, 5).expect("runs");
    assert_eq!(answers.len(), 5);
    for answer in &answers {
        assert_eq!(answer.text, text[answer.bytes.0..answer.bytes.1]);
        let characters: String =
            text.chars().skip(answer.start).take(answer.end - answer.start).collect();
        assert_eq!(answer.text, characters);
    }
    assert!(answers.is_sorted_by(|a, b| a.probability >= b.probability));
    assert!((answers.iter().map(|answer| answer.probability).sum::<f32>() - 1.0).abs() < 1e-5);
    assert!(model.answer("When?", "", 5).expect("runs").is_empty());
    assert!(model.answer("When?", &text, 0).expect("runs").is_empty());
    let long = "when ".repeat(100);
    assert!(model.answer(&long, &text, 1).is_ok(), "a long question is cut");
}

#[test]
fn labelled_parts_are_parts_of_the_text() {
    let keys = json!({
        "architectures": ["BertForTokenClassification"],
        "id2label": { "0": "O", "1": "B-PER", "2": "I-PER", "3": "LOC" },
    });
    let app = App::new("classifier", 4, &keys, Options::default());
    let model = app.open();
    assert!(model.gives(Task::Tag) && !model.gives(Task::Classify));
    assert_eq!(model.labels(), ["O", "B-PER", "I-PER", "LOC"]);
    // One token after the other has the label of its largest logit.
    const TEXT: &str = "caf\u{e9} two roads met in the wood.";
    let tokenizer = Tokenizer::bert_uncased().expect("loads");
    let tokens = tokenizer.tokens(TEXT).expect("tokens");
    let logits = app.outputs(TEXT).0.remove(0).values;
    let of_token = |at: usize| {
        let row = &logits[(at + 1) * 4..(at + 2) * 4];
        (0..4).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("four")
    };
    let tags = model.tag(&[TEXT]).expect("runs").remove(0);
    for (at, token) in tokens.iter().enumerate() {
        let holding = tags.iter().find(|tag| (tag.bytes.0..tag.bytes.1).contains(&token.start));
        let expected = ["", "PER", "PER", "LOC"][of_token(at)];
        assert_eq!(holding.map_or("", |tag| &*tag.label), expected, "{at} of {tags:?}");
    }
    for tag in &tags {
        assert_eq!(TEXT[tag.bytes.0..tag.bytes.1], tag.text);
        let characters: String = TEXT.chars().skip(tag.start).take(tag.end - tag.start).collect();
        assert_eq!(characters, tag.text);
        assert!(tag.probability > 0.25 && tag.probability <= 1.0);
    }
    // A text longer than the model takes is read to its end.
    let long = ["one two three four five six seven eight nine ten"; 20].join(" ");
    let tags = model.tag(&["", &long]).expect("runs");
    assert!(tags[0].is_empty());
    assert!(tags[1].iter().any(|tag| tag.bytes.1 > long.len() / 2), "{:?}", tags[1].last());
    let error = classifier().open().tag(&["text"]).expect_err("labels texts only").to_string();
    assert!(error.contains("labels of tokens"), "{error}");
}

#[test]
fn a_bundle_that_knows_fewer_words_says_the_same_of_texts_made_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    model(&path, |_| true, &linear("classifier", 3));
    let text = folder.path().join("text.txt");
    std::fs::write(&text, TEXTS.join("\n")).expect("writes");
    for precision in atb_space::Precision::ALL {
        let bundle = |name: &str, vocabulary| {
            let options =
                Options { workload: WORKLOAD, precision, vocabulary, ..Options::default() };
            export(&path, &options, &folder.path().join(name)).expect("exports")
        };
        let whole = bundle("whole", None);
        let text = atb_export::Vocabulary::File(text.clone());
        let pruned = bundle("pruned", Some(text));
        let kept = pruned.report().vocabulary.expect("fewer");
        assert!(kept.entries < 300 && kept.of == 30_522, "{kept:?}");
        let (small, large) = (pruned.report(), whole.report());
        assert!(small.model_bytes * 4 < large.model_bytes);
        assert_eq!(large.parameters - small.parameters, ((kept.of - kept.entries) * HIDDEN) as u64);
        let found = |bundle: &Bundle| opened(bundle.folder()).expect("runs");
        assert_eq!(found(&pruned), found(&whole));
        // Other texts lose words; the outputs are still those of the model.
        let parity = crate::common::verify(&pruned, &path, None);
        assert!(parity.candle_tract < 0.05, "{parity:?}");
    }
}

#[test]
fn threads_share_a_model_and_get_the_same_answers() {
    let app = classifier();
    let model = app.open();
    let expected = model.probabilities(&TEXTS).expect("runs");
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (model, expected, barrier) = (model.clone(), &expected, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..5 {
                    assert_eq!(&model.probabilities(&TEXTS).expect("runs"), expected);
                }
            });
        }
    });
}

#[test]
fn a_cancelled_call_ends_and_others_go_on() {
    let app = classifier();
    let model = app.open();
    let cancellation = Cancellation::new();
    let cancelled = model.cancelled_by(&cancellation);
    assert!(cancelled.classify(&TEXTS).is_ok());
    let (many, later) = (vec![TEXTS[0]; 200_000], cancellation.clone());
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        later.cancel();
    });
    let error = cancelled.classify(&many).expect_err("cancelled");
    assert!(matches!(error, ModelError::Cancelled), "{error}");
    thread.join().expect("no panic");
    assert!(model.classify(&TEXTS).is_ok());
}

/// Why a bundle is refused, or that it runs.
fn opened(path: &Path) -> Result<Vec<Vec<f32>>, String> {
    let model = Model::open(path).map_err(|error| error.to_string())?;
    model.probabilities(&TEXTS).map_err(|error| error.to_string())
}

#[test]
fn a_part_of_another_bundle_is_told() {
    let app = classifier();
    let other = App::new("classifier", 2, &json!({}), Options::default());
    let folder = app.bundle.folder();
    let original = |name: &str| std::fs::read(folder.join(name)).expect("reads");
    let manifest = String::from_utf8(original("bundle.json")).expect("text");
    // Sizes as they are, so that what follows them is reached.
    let with = |name: &str, content: &[u8]| {
        let before = original(name);
        std::fs::write(folder.join(name), content).expect("writes");
        let size = |bytes: usize| format!("\"bytes\": {bytes},");
        let adapted = manifest.replace(&size(before.len()), &size(content.len()));
        std::fs::write(folder.join("bundle.json"), adapted).expect("writes");
        let found = opened(folder);
        let digests = OpenOptions { check_digests: true };
        let bundle = atb_runtime::Bundle::open(folder).expect("opens");
        let error = Model::of_bundle(&bundle, digests).expect_err("another part").to_string();
        assert!(error.contains(&format!("{name} is not what was exported")), "{error}");
        std::fs::write(folder.join(name), before).expect("writes");
        std::fs::write(folder.join("bundle.json"), &manifest).expect("writes");
        found.expect_err(name)
    };
    let vocabulary = String::from_utf8(original("vocab.txt")).expect("text");
    let model = std::fs::read(other.bundle.model_file()).expect("reads");
    let external = {
        let mut bytes = original("model.onnx");
        let end = bytes.len() - 7;
        bytes.truncate(end);
        bytes
    };
    for (name, content, told) in [
        ("vocab.txt", (vocabulary.clone() + "one-more\n").into_bytes(), "the model knows 30522"),
        ("vocab.txt", vocabulary.replace("[MASK]\n", "").into_bytes(), "no entry [MASK]"),
        ("vocab.txt", vocabulary.replace("\nthe\n", "\nof\n").into_bytes(), "is already entry"),
        ("vocab.txt", vec![0xff; 100], "not valid UTF-8"),
        ("vocab.txt", Vec::new(), "no entry [UNK]"),
        ("tokenizer_config.json", b"{".to_vec(), "EOF"),
        ("tokenizer_config.json", vec![b'['; 100_000], "recursion limit"),
        ("tokenizer_config.json", br#"{"do_lower_case": 7}"#.to_vec(), "must be true, false"),
        ("model.onnx", model, "names 3 labels, but the model tells 2 apart"),
        ("model.onnx", external, "could not be loaded"),
        ("model.onnx", vec![0xff; 4096], "could not be loaded"),
    ] {
        let error = with(name, &content);
        assert!(error.contains(told), "{name}: {error}");
    }
    assert!(opened(folder).is_ok());
}

#[test]
fn a_bundle_cut_anywhere_is_an_error() {
    let app = classifier();
    let bytes = Bytes::new(std::fs::read(app.file()).expect("reads"));
    // The end of the archive, where its list of members lies, byte by byte; the rest coarsely.
    let lengths = (0..bytes.len()).step_by(99_991).chain(bytes.len() - 600..bytes.len());
    for length in lengths {
        let cut = bytes.slice(0..length).expect("lies in it");
        let found = atb_runtime::Bundle::from_bytes("cut", cut);
        assert!(found.is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn a_model_with_wrong_bytes_never_ends_the_program() {
    let vocabulary = Some(atb_export::Vocabulary::First(200));
    let options = Options { vocabulary, ..Options::default() };
    let app = App::new("classifier", 3, &json!({}), options);
    let path = app.bundle.model_file();
    let whole = std::fs::read(&path).expect("reads");
    // The graph lies before and after the large tensors; their values are only numbers.
    let places = (0..2_000).step_by(113).chain((whole.len() - 20_000..whole.len()).step_by(997));
    for place in places {
        for value in [0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = value;
            std::fs::write(&path, &bytes).expect("writes");
            let _ = opened(app.bundle.folder());
        }
    }
}
