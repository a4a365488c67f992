//! Examples for training: the parts of a split, token ids, targets, and a teacher's logits.

use std::fmt::Write;
use std::path::PathBuf;

use atb_checkpoint::{Checkpoint, NewFolder};
use atb_superplm::{SuperPlm, extract};
use atb_tasks::{
    EvaluateSettings, Examples, Model, Split, Task, TrainingTarget, training_examples,
};
use atb_text::Tokenizer;
use candle_core::{Device, Tensor};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).expect("writes");
    }

    fn read(&self, kind: &str) -> (Task, Split) {
        let keys = match kind {
            "classification" => "target = 'target'\nlabels = ['bad', 'good']",
            _ => "target = 'target'\nrange = [0, 5]",
        };
        let splits = "splits = { train = 'train.tsv' }";
        let text = format!("name = 'mine'\nkind = '{kind}'\nfirst = 'text'\n{keys}\n{splits}\n");
        self.write("task.toml", &text);
        let task = Task::read(&self.path("task.toml")).expect("reads");
        let split = task.read_split(None, "train").expect("reads");
        (task, split)
    }
}

fn lines(split: &Split) -> Vec<usize> {
    let Examples::Rows(rows) = &split.examples else { panic!("rows") };
    rows.iter().map(|row| row.line).collect()
}

#[test]
fn a_split_is_divided_by_texts() {
    let folder = Folder::new();
    let mut text = "text\ttarget\n".to_owned();
    for row in 0..200 {
        // Every text is there twice, in another case and with other spaces.
        let words = if row % 2 == 0 { "Text number" } else { "text  NUMBER" };
        let _ = writeln!(text, "{words} {}\t{}", row / 2, row % 5);
    }
    folder.write("train.tsv", &text);
    let (_, split) = folder.read("regression");
    let (train, held_out) = split.divided(30, None, 4).expect("divides");
    assert_eq!((train.len(), held_out.len()), (170, 30));
    assert_eq!((&*train.name, &*held_out.name), ("train", "held-out"));
    let pair = |line: &usize| (line - 2) / 2;
    let chosen: Vec<usize> = lines(&held_out).iter().map(pair).collect();
    assert!(lines(&train).iter().all(|line| !chosen.contains(&pair(line))));
    assert_eq!(split.divided(30, None, 4).expect("divides").1, held_out);
    assert_ne!(split.divided(30, None, 5).expect("divides").1, held_out);
    // At most a fifth, and at most so many to train on, of which the others do not depend.
    let (few, same) = split.divided(1000, Some(50), 4).expect("divides");
    assert_eq!((few.len(), same.len()), (50, 40));
    assert!(lines(&few).windows(2).all(|pair| pair[0] < pair[1]));

    folder.write("train.tsv", "text\ttarget\nthe same\t1\nThe same\t2\n");
    let (_, split) = folder.read("regression");
    let error = split.divided(1, None, 0).expect_err("too few").to_string();
    assert!(
        error.ends_with("2 examples are too few to train on some and choose by others"),
        "{error}"
    );
}

#[test]
fn examples_are_token_ids_with_their_targets() {
    let folder = Folder::new();
    folder.write("train.tsv", "text\ttarget\nHello, world!\tgood\nHello\tbad\n");
    let (task, split) = folder.read("classification");
    let tokenizer = Tokenizer::bert_uncased().expect("loads");
    let settings = EvaluateSettings { sequence: 5, ..EvaluateSettings::default() };
    let examples = training_examples(&task, &split, &tokenizer, None, &settings).expect("examples");
    let found: Vec<_> = examples.iter().map(|e| (&e.ids[..], e.types.len(), e.target)).collect();
    assert_eq!(
        found,
        [
            (&[101, 7592, 1010, 2088, 102][..], 5, TrainingTarget::Label(1)),
            (&[101, 7592, 102], 3, TrainingTarget::Label(0)),
        ]
    );
    let squad = serde_json::json!({"data": [{"paragraphs": [{
        "context": "It opened in 1973 and closed in 1981.",
        "qas": [{"id": "q", "question": "When did it close?",
                 "answers": [{"text": "1981", "answer_start": 32}]}],
    }]}]});
    folder.write("train-v1.1.json", &squad.to_string());
    let task = Task::find("SQuAD").expect("built in");
    let split = task.read_split(Some(folder.0.path()), "train").expect("reads");
    let settings =
        EvaluateSettings { span_sequence: 12, span_stride: 3, ..EvaluateSettings::default() };
    let examples = training_examples(&task, &split, &tokenizer, None, &settings).expect("examples");
    assert!(examples.len() > 2 && examples.iter().all(|example| example.ids.len() <= 12));
    for example in examples {
        let TrainingTarget::Span(start, end) = example.target else { panic!("a span") };
        match example.ids.iter().position(|id| *id == 3261) {
            Some(place) => assert_eq!((start, end), (place, place)),
            None => assert_eq!((start, end), (0, 0)),
        }
    }
    let similarity = Task::find("STS-B-similarity").expect("built in");
    let error = training_examples(&similarity, &split, &tokenizer, None, &settings);
    assert!(error.is_err_and(|e| e.to_string().starts_with("there is nothing to train")));
}

#[test]
fn a_teacher_s_logits_are_in_the_task_s_order() {
    let folder = Folder::new();
    folder.write("train.tsv", "text\ttarget\nHello, world!\tgood\nHello\tbad\n");
    let (task, split) = folder.read("classification");
    let tokenizer = Tokenizer::bert_uncased().expect("loads");
    let plm = SuperPlm::random("1-16-32-2-16".parse().expect("parses"), tokenizer.clone(), 5);
    let plm = plm.expect("makes");
    extract(&plm, plm.architecture(), &folder.path("plain")).expect("writes");
    let teacher = |labels: [&str; 2], name: &str, task: &str| {
        let from = Checkpoint::open(&folder.path("plain")).expect("opens");
        let new = NewFolder::create(&folder.path(name)).expect("begins");
        let mut config = from.config().clone();
        config.labels = labels.map(str::to_owned).to_vec();
        config.task = Some(task.to_owned());
        new.config(&config).expect("writes");
        let vocabulary = fs_err::read_to_string(folder.path("plain/vocab.txt")).expect("reads");
        new.text("vocab.txt", &vocabulary).expect("writes");
        let file = folder.path("plain/model.safetensors");
        let mut tensors = candle_core::safetensors::load(file, &Device::Cpu).expect("loads");
        let weight = Tensor::zeros((2, 16), candle_core::DType::F32, &Device::Cpu);
        tensors.insert("classifier.weight".to_owned(), weight.expect("zeros"));
        let bias = Tensor::new(&[1.0f32, -2.0], &Device::Cpu);
        tensors.insert("classifier.bias".to_owned(), bias.expect("a bias"));
        new.weights(tensors).expect("writes");
        new.publish().expect("publishes");
        Model::open(&folder.path(name).display().to_string()).expect("opens")
    };
    let settings = EvaluateSettings::default();
    let logits = |model: &Model| {
        let examples = training_examples(&task, &split, &tokenizer, Some(model), &settings);
        examples.map(|all| all.into_iter().map(|e| e.teacher).collect::<Vec<_>>())
    };
    let expected = |logits: [f32; 2]| vec![Some(logits.to_vec()); 2];
    let found = logits(&teacher(["bad", "good"], "same", "mine")).expect("logits");
    assert_eq!(found, expected([1.0, -2.0]));
    let found = logits(&teacher(["good", "bad"], "other", "mine")).expect("logits");
    assert_eq!(found, expected([-2.0, 1.0]));
    let error = logits(&teacher(["bad", "good"], "stranger", "CoLA")).expect_err("refused");
    assert!(error.to_string().ends_with("was fine-tuned on CoLA, not on mine"), "{error}");
}
