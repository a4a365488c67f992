//! Fine-tuning end to end: what a small model learns, how it goes on, and what it refuses.

use std::path::Path;

use atb_checkpoint::BertConfig;
use atb_interface::{Head, Meaning};
use atb_superplm::{
    FinetuneSettings, Finetuning, Row, SuperPlm, Target, TaskHead, TaskTraining, TrainError,
    extract,
};
use atb_text::{Encoded, Tokenizer};

use crate::common::vocabulary_folder;

const ARCH: &str = "2-32-64-4-32";
/// `[CLS]`, `[SEP]`, and two words that a label hangs on.
const START: i64 = 2;
const END: i64 = 3;
const ONE: i64 = 5;
const OTHER: i64 = 6;

fn model() -> SuperPlm {
    let folder = vocabulary_folder();
    let tokenizer = Tokenizer::from_folder(folder.path()).expect("loads");
    SuperPlm::random(ARCH.parse().expect("an architecture"), tokenizer, 3).expect("random")
}

fn head(name: &str, labels: &[&str]) -> TaskHead {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    TaskHead { task: "toy".to_owned(), head: Head::named(name).expect("a head"), labels }
}

/// A text's tokens, whether its deciding word is [`ONE`], and which token that is.
type Text = (Vec<i64>, bool, usize);

/// Texts of filling words with one word that decides, at a place of its own.
fn texts(count: usize) -> Vec<Text> {
    let mut state = 9_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let text = |_| {
        let length = 3 + draw(6) as usize;
        let (place, is_one) = (draw(length as u64) as usize, draw(2) == 1);
        let mut words: Vec<i64> = (0..length).map(|_| 7 + draw(4) as i64).collect();
        words[place] = if is_one { ONE } else { OTHER };
        ([vec![START], words, vec![END]].concat(), is_one, place + 1)
    };
    (0..count).map(text).collect()
}

fn row(ids: Vec<i64>, target: Target) -> Row {
    Row { types: vec![0; ids.len()], ids, target, teacher: None }
}

fn labelled(count: usize) -> Vec<Row> {
    let rows = texts(count).into_iter();
    rows.map(|(ids, is_one, _)| row(ids, Target::Label(usize::from(is_one)))).collect()
}

fn training(head: TaskHead, rows: Vec<Row>) -> TaskTraining {
    let settings = FinetuneSettings {
        epochs: 4,
        batch_size: 16,
        learning_rate: 3e-3,
        ..FinetuneSettings::default()
    };
    TaskTraining { start: model(), head, rows: rows.into(), seed: 1, settings }
}

/// Trains to the end; the best model's folder. The score of an epoch is its number.
fn train(training: TaskTraining, folder: &Path) -> SuperPlm {
    let mut finetuning = Finetuning::begin(training, folder).expect("begins");
    while finetuning.epoch(|_| {}).expect("trains") {
        let score = finetuning.epochs() as f64;
        assert!(finetuning.judge("number", Some(score)).expect("judges"));
    }
    SuperPlm::load(&finetuning.best().expect("a best one").0).expect("loads")
}

/// The output of that meaning for texts one by one.
fn outputs(plm: &SuperPlm, ids: &[i64], meaning: Meaning) -> Vec<f32> {
    let batch = Encoded {
        batch: 1,
        sequence: ids.len(),
        input_ids: ids.to_vec(),
        attention_mask: vec![1; ids.len()],
        token_type_ids: vec![0; ids.len()],
    };
    let outputs = plm.outputs(&batch).expect("runs");
    outputs.meaning(meaning).expect("is there").values.clone()
}

#[test]
fn a_small_model_learns_labels_scores_and_answers() {
    let root = tempfile::tempdir().expect("a folder");
    let unseen = || texts(500).split_off(400);
    let largest = |values: &[f32]| {
        let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(index, _)| index)
    };
    let share = |right: &dyn Fn(&Text) -> bool| {
        let unseen = unseen();
        unseen.iter().filter(|text| right(text)).count() as f64 / unseen.len() as f64
    };

    let classifier = head("sequence-classification", &["other", "one"]);
    let plm = train(training(classifier, labelled(400)), &root.path().join("labels"));
    let right = share(&|(ids, is_one, _)| {
        largest(&outputs(&plm, ids, Meaning::ClassLogits)) == usize::from(*is_one)
    });
    assert!(right > 0.97, "{right}");
    let config = plm.config();
    assert_eq!(config.class.as_deref(), Some("BertForSequenceClassification"));
    assert_eq!(
        (&config.labels[..], config.task.as_deref()),
        (&["other", "one"].map(str::to_owned)[..], Some("toy"))
    );

    let scored = texts(400)
        .into_iter()
        .map(|(ids, is_one, _)| row(ids, Target::Score(if is_one { 4.0 } else { 1.0 })));
    let regression = head("sequence-classification", &["LABEL_0"]);
    let plm = train(training(regression, scored.collect()), &root.path().join("scores"));
    let right = share(&|(ids, is_one, _)| {
        let [score] = outputs(&plm, ids, Meaning::ClassLogits)[..] else { panic!("one number") };
        (score - if *is_one { 4.0 } else { 1.0 }).abs() < 1.0
    });
    assert!(right > 0.97, "{right}");

    let answered = texts(400)
        .into_iter()
        .map(|(ids, _, place)| row(ids, Target::Span { start: place, end: place }));
    let spans = head("question-answering", &[]);
    let plm = train(training(spans, answered.collect()), &root.path().join("answers"));
    let right = share(&|(ids, _, place)| {
        [Meaning::SpanStart, Meaning::SpanEnd]
            .into_iter()
            .all(|meaning| largest(&outputs(&plm, ids, meaning)) == *place)
    });
    assert!(right > 0.97, "{right}");
    assert!(
        !plm.outputs(&plm.tokenizer().encode_batch(["a"], 4).expect("encodes"))
            .is_ok_and(|outputs| outputs.meaning(Meaning::Pooled).is_some())
    );
}

#[test]
fn one_that_is_interrupted_makes_the_same_steps() {
    let root = tempfile::tempdir().expect("a folder");
    let of = || training(head("sequence-classification", &["other", "one"]), labelled(60));
    let (whole, parts) = (root.path().join("whole"), root.path().join("parts"));
    let expected = train(of(), &whole);
    // Left after each epoch, judged or not.
    for judged in [true, false, true] {
        let mut finetuning = Finetuning::begin(of(), &parts).expect("begins");
        assert!(finetuning.epoch(|_| {}).expect("trains"));
        if judged {
            let score = finetuning.epochs() as f64;
            finetuning.judge("number", Some(score)).expect("judges");
        }
    }
    let found = train(of(), &parts);
    let digest = |folder: &Path| {
        let best = folder.join("best-00000016/model.safetensors");
        atb_files::digest_of_file(&best).expect("reads")
    };
    assert_eq!(digest(&whole), digest(&parts));
    assert_eq!(expected.config(), found.config());
    let mut changed = of();
    changed.settings.dropout = 0.2;
    let error = Finetuning::begin(changed, &parts).err().expect("refused").to_string();
    assert!(error.ends_with("its `settings.dropout` is 0.1, here it is 0.2"), "{error}");
}

#[test]
fn the_best_epoch_s_model_is_kept_and_a_head_of_the_same_labels() {
    let root = tempfile::tempdir().expect("a folder");
    let of = || training(head("sequence-classification", &["other", "one"]), labelled(40));
    let mut finetuning = Finetuning::begin(of(), root.path()).expect("begins");
    let mut kept = Vec::new();
    let mut scores = [None, Some(0.5), Some(0.4), Some(0.5)].into_iter();
    while finetuning.epoch(|_| {}).expect("trains") {
        let score = scores.next().expect("four epochs");
        kept.push(finetuning.judge("accuracy", score).expect("judges"));
    }
    assert_eq!(kept, [true, true, false, false]);
    let (folder, best) = finetuning.best().expect("a best one");
    assert_eq!((best.epoch, best.score), (2, Some(0.5)));
    let folders = std::fs::read_dir(root.path()).expect("lists").filter(|entry| {
        entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("best-"))
    });
    assert_eq!(folders.count(), 1);

    // The head goes on from where it was, unless the labels are others.
    let classifier = |folder: &Path| {
        let checkpoint = atb_checkpoint::Checkpoint::open(folder).expect("opens");
        checkpoint.tensor("classifier.weight").expect("has a head").1
    };
    let before = classifier(&folder);
    for (labels, kept) in [(["other", "one"], true), (["one", "other"], false)] {
        let again = root.path().join(format!("again-{kept}"));
        let mut training = training(head("sequence-classification", &labels), labelled(16));
        training.start = SuperPlm::load(&folder).expect("loads");
        training.settings =
            FinetuneSettings { epochs: 1, learning_rate: 1e-9, dropout: 0.0, ..training.settings };
        train(training, &again);
        let after = classifier(&again.join("best-00000001"));
        let near = before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6);
        assert_eq!(near, kept);
    }
}

#[test]
fn a_teacher_s_logits_are_learned() {
    let root = tempfile::tempdir().expect("a folder");
    // The labels say the opposite of the teacher, who counts alone.
    let rows = texts(300).into_iter().map(|(ids, is_one, _)| Row {
        teacher: Some(if is_one { vec![-3.0, 3.0] } else { vec![3.0, -3.0] }),
        ..row(ids, Target::Label(usize::from(!is_one)))
    });
    let mut training = training(head("sequence-classification", &["other", "one"]), rows.collect());
    training.settings.distillation.weight = 1.0;
    let plm = train(training, root.path());
    let right = texts(300).into_iter().filter(|(ids, is_one, _)| {
        let logits = outputs(&plm, ids, Meaning::ClassLogits);
        (logits[1] > logits[0]) == *is_one
    });
    assert!(right.count() > 285);
}

#[test]
fn examples_that_do_not_suit_the_model_are_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let refused = |rows: Vec<Row>| -> String {
        let training = training(head("sequence-classification", &["other", "one"]), rows);
        match Finetuning::begin(training, root.path()).err().expect("refused") {
            TrainError::Examples(problem) => problem,
            other => other.to_string(),
        }
    };
    let fine = || row(vec![START, ONE, END], Target::Label(1));
    assert_eq!(refused(vec![]), "there are none");
    assert_eq!(
        refused(vec![fine(), row(vec![START, END], Target::Label(2))]),
        "row 1 has label 2, the head tells 2 apart"
    );
    assert_eq!(
        refused(vec![fine(), row(vec![START, END], Target::Score(1.0))]),
        "row 1 is of another kind than the first"
    );
    let taught = Row { teacher: Some(vec![1.0]), ..fine() };
    assert_eq!(refused(vec![taught]), "row 0 has 1 of a teacher's logits");
    assert_eq!(
        refused(vec![row(vec![START, 11, END], Target::Label(0))]),
        "the batch does not suit the model: token id 11 is more than 10"
    );
    let long = row(vec![START; 513], Target::Label(0));
    assert_eq!(
        refused(vec![long]),
        "the training data has sequences of 513 tokens, the model takes at most 512"
    );
    assert_eq!(std::fs::read_dir(root.path()).expect("lists").count(), 0);
}

#[test]
fn other_heads_go_and_the_rest_stays() {
    let root = tempfile::tempdir().expect("a folder");
    let (before, after) = (root.path().join("before"), root.path().join("after"));
    let plm = model();
    extract(&plm, plm.architecture(), &before).expect("writes");
    let mut training = training(
        head("question-answering", &[]),
        vec![row(vec![START, ONE, END], Target::Span { start: 1, end: 1 })],
    );
    training.settings.epochs = 1;
    train(training, &after);
    let folder = after.join("best-00000001");
    let config = BertConfig::read(&folder).expect("reads");
    assert_eq!(config.class.as_deref(), Some("BertForQuestionAnswering"));
    let checkpoint = atb_checkpoint::Checkpoint::open(&folder).expect("opens");
    assert!(checkpoint.has("qa_outputs.bias") && !checkpoint.has("pooler.dense.weight"));
}
