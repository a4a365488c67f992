//! Training: that losses fall, that it continues as if it had never stopped, and what it
//! refuses.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use atb_space::{Architecture, QkvSize, Range, Space};
use atb_superplm::{
    Dataset, Layout, MetricsLine, Objective, ObjectiveKind, Outcome, Schedule, Stopped, SubModels,
    SuperPlm, TrainError, TrainSettings, Training, extract, prepare, train,
};
use atb_text::Encoded;

use crate::common::{small_model, vocabulary_folder};

const TEACHER: &str = "3-16-24-4-16";
pub(crate) const STUDENT: &str = "2-12-16-4-16";

pub(crate) fn arch(id: &str) -> Architecture {
    id.parse().expect(id)
}

/// Everything that [`STUDENT`] contains of four heads.
fn space() -> Space {
    Space {
        name: "small".to_owned(),
        layers: Range::new(1, 2, 1),
        hidden: Range::new(4, 12, 4),
        intermediate: Range::new(4, 16, 4),
        heads: Range::one(4),
        qkv: QkvSize::Total(Range::new(4, 16, 4)),
        per_layer: true,
    }
}

pub(crate) struct Room {
    root: tempfile::TempDir,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().expect("temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn teacher(&self) -> SuperPlm {
        let folder = self.path("teacher");
        if !folder.is_dir() {
            small_model(&folder, TEACHER);
        }
        SuperPlm::load(&folder.join("small")).expect("loads")
    }

    pub(crate) fn data(&self, sequence_length: usize) -> Dataset {
        let text = self.path("text.txt");
        let documents: Vec<String> = (1..=12)
            .map(|n| format!("{}\n{}", "a tiny model of text ".repeat(n), "models text ".repeat(n)))
            .collect();
        std::fs::write(&text, documents.join("\n\n")).expect("writes");
        let folder = self.path(&format!("data-{sequence_length}"));
        prepare(
            &[text],
            self.teacher().tokenizer(),
            Layout::Packed,
            sequence_length,
            &folder,
            |_| {},
        )
        .expect("prepares")
    }

    pub(crate) fn held_out(&self, sequence_length: usize) -> Encoded {
        let texts = ["tiny models of tiny text", "a text of models"];
        self.teacher().tokenizer().encode_batch(texts, sequence_length).expect("encodes")
    }

    /// One-shot distillation of [`STUDENT`] for `steps` steps.
    pub(crate) fn training(&self, steps: u64) -> Training {
        let teacher = self.teacher();
        let start = teacher.shrink(&arch(STUDENT)).expect("fits");
        let sub_models = SubModels::OneShot {
            space: space(),
            per_step: 3,
            sandwich: true,
            max_width_probability: 0.0,
        };
        let panel = ["1-4-4-4-4", "2-8-8-4-8", STUDENT].map(arch).to_vec();
        Training {
            start,
            objective: Objective::distillation(teacher),
            data: self.data(16),
            held_out: self.held_out(12),
            settings: TrainSettings {
                batch_size: 3,
                schedule: Schedule { steps, warmup_steps: 2, learning_rate: 5e-3 },
                checkpoint_every: 4,
                validate_every: 5,
                ..TrainSettings::new(sub_models, panel, steps, 11)
            },
        }
    }
}

fn run(training: Training, folder: &Path) -> Result<Outcome, TrainError> {
    train(training, folder, |_| ControlFlow::Continue(()))
}

pub(crate) fn metrics(folder: &Path) -> Vec<MetricsLine> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).expect("reads");
    text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

/// The steps, without their times, which differ from run to run.
fn steps(folder: &Path) -> Vec<MetricsLine> {
    let mut lines = metrics(folder);
    lines.retain_mut(|line| match line {
        MetricsLine::Step { seconds, .. } => {
            *seconds = 0.0;
            true
        }
        _ => false,
    });
    lines
}

/// Each architecture's first and last validation loss.
fn first_and_last(folder: &Path) -> Vec<(String, f64, f64)> {
    let validations: Vec<Vec<(Architecture, f64)>> = metrics(folder)
        .into_iter()
        .filter_map(|line| match line {
            MetricsLine::Validation { losses, .. } => Some(losses),
            _ => None,
        })
        .collect();
    let (first, last) = (&validations[0], &validations[validations.len() - 1]);
    first.iter().zip(last).map(|(a, b)| (a.0.id(), a.1, b.1)).collect()
}

fn refusal(training: Training, folder: &Path) -> String {
    let error = run(training, folder).expect_err("refused").to_string();
    error.replace(&folder.display().to_string(), "FOLDER")
}

#[test]
fn distillation_lowers_the_loss_of_every_architecture_of_the_panel() {
    let room = Room::new();
    let folder = room.path("run");
    let outcome = run(room.training(60), &folder).expect("trains");
    assert_eq!((outcome.steps, outcome.stopped), (60, Stopped::Completed));
    for (id, first, last) in first_and_last(&folder) {
        assert!(last < 0.8 * first, "{id}: {first} to {last}");
    }
    let kept: Vec<_> = std::fs::read_dir(folder.join("checkpoints")).expect("lists").collect();
    assert_eq!(kept.len(), 2, "only the last checkpoints are kept");

    // The trained model is one that can be cut, scored and loaded as any other.
    let model = SuperPlm::load(&outcome.model.expect("is complete")).expect("loads");
    assert_eq!(model.architecture(), &arch(STUDENT));
    let teacher = room.teacher();
    let fitness =
        atb_superplm::KdFitness::new(&model, &teacher, &room.held_out(12)).expect("scores");
    for (arch, loss) in outcome.validation {
        assert_eq!(fitness.loss(&arch).expect("scores"), loss);
    }
}

#[test]
fn sentence_embeddings_come_closer_to_the_teachers() {
    let room = Room::new();
    let folder = room.path("run");
    let mut training = room.training(60);
    let kind = ObjectiveKind::find("sentence").expect("is known");
    let options = serde_json::json!({ "hidden_states": 0.1 });
    training.objective = kind.objective(Some(room.teacher()), options).expect("makes");
    run(training, &folder).expect("trains");
    for (id, first, last) in first_and_last(&folder) {
        assert!(last < 0.8 * first, "{id}: {first} to {last}");
    }
    // The terms of each sub-model add up to its loss.
    for line in steps(&folder) {
        let MetricsLine::Step { losses, terms, .. } = line else { continue };
        let names: Vec<&str> = terms.keys().map(String::as_str).collect();
        assert_eq!(names, ["cosine", "hidden_states", "similarities"]);
        for (i, (_, loss)) in losses.iter().enumerate() {
            let sum: f64 = terms.values().map(|values| values[i]).sum();
            assert!((sum - loss).abs() < 1e-5 * (1.0 + loss.abs()), "{sum} for {loss}");
        }
    }
    assert!(kind.objective(None, serde_json::Value::Null).is_err(), "it needs a teacher");
}

#[test]
fn a_checkpoint_of_the_former_schema_is_continued() {
    let room = Room::new();
    let (whole, parts) = (room.path("whole"), room.path("parts"));
    run(room.training(8), &whole).expect("trains");
    let stopped = train(room.training(8), &parts, |progress| {
        if progress.steps == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // As the version before wrote it.
    let state = stopped.expect("trains").checkpoint.join("training.json");
    let mut json = std::fs::read_to_string(&state).expect("reads");
    for (new, old) in [
        ("\"schema\": 2", "\"schema\": 1"),
        ("\"batch_size\"", "\"rows\""),
        ("\"gradient_accumulation_steps\"", "\"accumulation\""),
        ("\"max_grad_norm\"", "\"clip_norm\""),
        ("\"time_limit\"", "\"time_budget\""),
        ("\"max_width_probability\"", "\"at_largest\""),
    ] {
        assert!(json.contains(new), "{json}");
        json = json.replace(new, old);
    }
    std::fs::write(&state, json).expect("writes");
    assert_eq!(run(room.training(8), &parts).expect("continues").steps, 8);
    assert_eq!(steps(&whole), steps(&parts));
}

#[test]
fn masked_language_modelling_learns_from_the_context() {
    let room = Room::new();
    let folder = room.path("run");
    let mut training = room.training(150);
    training.objective = Objective::masked_lm();
    // Each document repeats one word, so the context tells what the frequencies do not.
    let words = ["a", "tiny", "model", "of", "text"];
    let document = |word: &&str, times: usize| [*word].repeat(times).join(" ");
    let text = room.path("words.txt");
    let documents: Vec<String> = words.iter().map(|word| document(word, 200)).collect();
    std::fs::write(&text, documents.join("\n\n")).expect("writes");
    let tokenizer = training.start.tokenizer();
    training.held_out =
        tokenizer.encode_batch(&words.map(|word| document(&word, 9)), 12).expect("encodes");
    training.data = prepare(&[text], tokenizer, Layout::Packed, 16, &room.path("words"), |_| {})
        .expect("prepares");
    training.settings.gradient_accumulation_steps = 2;
    training.settings.schedule.learning_rate = 2e-2;
    run(training, &folder).expect("trains");
    let losses = first_and_last(&folder);
    for (id, first, last) in &losses {
        assert!(*last < 0.8 * first, "{id}: {first} to {last}");
    }
    // Frequencies alone would give ln 5 = 1.61.
    assert!(losses[2].2 < 1.3, "{losses:?}");
    let model = SuperPlm::load(&folder.join("model")).expect("loads");
    let part = room.path("part");
    extract(&model, &arch("1-8-8-4-8"), &part).expect("cuts");
    SuperPlm::load(&part).expect("loads with its smaller head");
}

#[test]
fn one_architecture_is_trained_further() {
    let room = Room::new();
    let folder = room.path("run");
    let mut training = room.training(30);
    let part = arch("1-8-12-4-8");
    training.start = training.start.shrink(&part).expect("fits");
    training.settings.sub_models = SubModels::Fixed(part.clone());
    training.settings.panel = vec![part];
    run(training, &folder).expect("trains");
    let (_, first, last) = first_and_last(&folder).remove(0);
    assert!(last < 0.8 * first, "{first} to {last}");
}

#[test]
fn a_continued_training_is_the_same_to_the_last_bit() {
    let room = Room::new();
    let (whole, parts) = (room.path("whole"), room.path("parts"));
    let outcome = run(room.training(11), &whole).expect("trains");

    // Stopped after the sixth step, with a checkpoint of it.
    let stopped = train(room.training(11), &parts, |progress| {
        if progress.steps == 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stopped = stopped.expect("trains");
    assert_eq!((stopped.steps, stopped.stopped, stopped.model), (6, Stopped::Asked, None));
    // Killed after the tenth, with the checkpoint of the eighth and later metrics.
    let killed = std::panic::catch_unwind(|| {
        train(room.training(11), &parts, |progress| {
            assert!(progress.steps < 10, "killed");
            ControlFlow::Continue(())
        })
    });
    assert!(killed.is_err());
    let again = run(room.training(11), &parts).expect("trains");

    assert_eq!(again.steps, 11);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |outcome: &Outcome| std::fs::read(outcome.checkpoint.join(file)).expect("reads");
        assert!(read(&outcome) == read(&again), "{file} differs");
    }
    assert_eq!(steps(&whole).len(), 11);
    assert_eq!(steps(&whole), steps(&parts));
}

#[test]
fn a_time_limit_ends_a_training_at_a_checkpoint() {
    let room = Room::new();
    let mut training = room.training(1000);
    training.settings.time_limit = Some(std::time::Duration::ZERO);
    let outcome = run(training, &room.path("run")).expect("trains");
    assert_eq!((outcome.steps, outcome.stopped), (1, Stopped::TimeLimit));
    assert!(outcome.checkpoint.ends_with("checkpoints/step-00000001"));
}

#[test]
fn a_training_that_diverges_names_step_architecture_and_checkpoint() {
    let room = Room::new();
    let folder = room.path("run");
    let mut training = room.training(40);
    training.settings.schedule.learning_rate = 1e4;
    training.settings.checkpoint_every = 1;
    let error = run(training, &folder).expect_err("diverges");
    let TrainError::Diverged { step, checkpoint: Some(checkpoint), .. } = &error else {
        panic!("another error: {error}");
    };
    assert!(checkpoint.ends_with(format!("checkpoints/step-{step:08}")), "{error}");
    SuperPlm::load(checkpoint).expect("the checkpoint loads");
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let room = Room::new();
    let folder = room.path("run");
    run(room.training(4), &folder).expect("trains");
    let changed = |change: fn(&mut Training)| {
        let mut training = room.training(4);
        change(&mut training);
        refusal(training, &folder)
    };
    assert_eq!(
        changed(|training| training.settings.seed = 12),
        "FOLDER/checkpoints/step-00000004 is a checkpoint of another training: its \
         `settings.seed` is 11, here it is 12"
    );
    let objective = changed(|training| training.objective = Objective::masked_lm());
    assert!(objective.contains("its `objective` is \"kd\", here it is \"mlm\""), "{objective}");
    let start = changed(|training| {
        training.start = training.start.shrink(&arch("2-12-12-4-16")).expect("fits");
        training.settings.panel.truncate(2);
    });
    assert!(start.contains("its `architecture` is \"2-12-16-4-16\""), "{start}");

    // What is only watched may change.
    let mut training = room.training(4);
    training.settings.panel.pop();
    run(training, &folder).expect("continues, and has nothing to do");

    let state = folder.join("checkpoints/step-00000004/training.json");
    let json = std::fs::read_to_string(&state).expect("reads");
    std::fs::write(&state, json.replace("\"schema\": 2", "\"schema\": 9")).expect("writes");
    let newer = changed(|_| {});
    assert!(newer.ends_with("has schema 9, this version of atb reads up to 2"));
}

#[test]
fn what_cannot_be_trained_is_refused_before_any_step() {
    let room = Room::new();
    let folder = room.path("run");
    let changed = |change: &dyn Fn(&mut Training)| {
        let mut training = room.training(4);
        change(&mut training);
        let message = refusal(training, &folder);
        assert!(!folder.join("metrics.jsonl").exists(), "{message}");
        message
    };
    assert_eq!(
        changed(&|training| training.settings.batch_size = 0),
        "`batch_size` is 0, expected 1 to 65536"
    );
    let words = vocabulary_folder();
    let vocabulary = words.path().join("vocab.txt");
    let text = std::fs::read_to_string(&vocabulary).expect("reads");
    std::fs::write(&vocabulary, text.replace("tiny", "huge")).expect("writes");
    let other = atb_text::Tokenizer::from_folder(words.path()).expect("loads");
    assert!(
        changed(&|training| {
            training.start = SuperPlm::random(arch(STUDENT), other.clone(), 1).expect("random");
        })
        .starts_with("the text was tokenized with another vocabulary")
    );
    assert_eq!(
        changed(&|training| {
            let own = training.start.tokenizer().clone();
            training.start = SuperPlm::random(arch("2-12-16-2-16"), own, 1).expect("random");
            training.settings.sub_models = SubModels::Fixed(arch("2-12-16-2-16"));
            training.settings.panel = vec![arch("2-12-16-2-16")];
        }),
        "the model cannot be distilled from this teacher: layer 0 of the model has 2 attention \
         heads, the teacher's last layer 4; heads are compared pair by pair, so start from an \
         architecture with as many"
    );
    assert_eq!(
        changed(&|training| training.data = room.data(600)),
        "the training text has sequences of 600 tokens, the model takes at most 512"
    );
    assert_eq!(
        changed(&|training| training.settings.panel.push(arch("3-12-16-4-16"))),
        "3-12-16-4-16 does not fit into 2-12-16-4-16: the number of layers 3 is more than 2"
    );
}

#[test]
fn a_start_takes_evenly_chosen_layers() {
    let room = Room::new();
    let teacher = room.teacher();
    // Of three layers, two: the second and the third.
    let start = teacher.shrink(&arch(STUDENT)).expect("fits");
    let folder = room.path("start");
    extract(&start, start.architecture(), &folder).expect("writes");
    let read = |folder: &Path, name: &str| {
        atb_checkpoint::Checkpoint::open(folder).and_then(|c| c.tensor(name)).expect("reads")
    };
    let (shape, bias) = read(&folder, "encoder.layer.0.intermediate.dense.bias");
    let (_, whole) = read(&room.path("teacher/small"), "encoder.layer.1.intermediate.dense.bias");
    assert_eq!((shape, &bias[..]), (vec![16], &whole[..16]));
    let (_, query) = read(&folder, "encoder.layer.1.attention.self.query.weight");
    let (_, whole) =
        read(&room.path("teacher/small"), "encoder.layer.2.attention.self.query.weight");
    assert_eq!(query[12..24], whole[16..28], "the second row, cut to 12 columns");
    assert_eq!(
        teacher.shrink(&arch("4-16-24-4-16")).expect_err("refused").to_string(),
        "4-16-24-4-16 does not fit into 3-16-24-4-16: the number of layers 4 is more than 3"
    );
}
