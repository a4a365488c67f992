//! The functions of `autotinybert.Native`.
//!
//! All of them are called by the virtual machine alone, with what `Native.kt` declares.

use atb_app::{Cancellation, MeasureOptions, Model, OpenOptions, Task, TextInput, measure};
use jni_sys::{
    JNIEnv, jboolean, jbyteArray, jclass, jdouble, jdoubleArray, jfloatArray, jint, jintArray,
    jlong, jobjectArray,
};
use std::ptr;

use crate::environment::Environment;
use crate::failure::{Failure, Kind};
use crate::guard::guarded;
use crate::source::Source;
use crate::table::Table;

static MODELS: Table<Model> = Table::new();
static CANCELLATIONS: Table<Cancellation> = Table::new();

/// The tasks in the order of `autotinybert.Task`.
const TASKS: [Task; 5] = [Task::Classify, Task::Score, Task::Embed, Task::Answer, Task::Tag];

fn model(number: jlong) -> Result<Model, Failure> {
    MODELS.get(number).ok_or_else(|| Failure::new(Kind::Argument, "the model is closed"))
}

/// The model, with the cancellation of the call.
fn asked(number: jlong, cancellation: jlong) -> Result<Model, Failure> {
    let model = model(number)?;
    Ok(match CANCELLATIONS.get(cancellation) {
        Some(cancellation) => model.cancelled_by(&cancellation),
        None => model,
    })
}

/// The values of one row after the other.
fn flat(rows: Vec<Vec<f32>>) -> Vec<f32> {
    rows.into_iter().flatten().collect()
}

/// The place in UTF-16 of a place in bytes.
fn utf16(text: &str, bytes: usize) -> f64 {
    text.get(..bytes).map_or(0, |before| before.encode_utf16().count()) as f64
}

/// Opens a bundle and gives the model's number.
///
/// # Safety
/// Called by the virtual machine, as `Native.kt` declares it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_open(
    environment: *mut JNIEnv,
    _class: jclass,
    path: jbyteArray,
    bytes: jbyteArray,
    descriptor: jint,
    offset: jlong,
    length: jlong,
    digests: jboolean,
) -> jlong {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, 0, || {
        let bundle = Source { path, bytes, descriptor, offset, length }.open(environment)?;
        let options = OpenOptions { check_digests: digests };
        Ok(MODELS.insert(Model::of_bundle(&bundle, options)?))
    })
}

/// Forgets a model. Calls that it is in go on.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_close(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
) {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, (), || {
        MODELS.remove(number);
        Ok(())
    });
}

/// What a model is: a bit for every task that it gives, values of an embedding, most tokens of a
/// text, and, where it has one, the range of its scores.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_facts(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
) -> jdoubleArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || {
        let model = model(number)?;
        let bit = |(place, task): (usize, &Task)| u32::from(model.gives(*task)) << place;
        let tasks: u32 = TASKS.iter().enumerate().map(bit).sum();
        let size = model.embedding_size().unwrap_or(0);
        let mut facts = vec![f64::from(tasks), size as f64, model.sequence() as f64];
        facts.extend(model.score_range().into_iter().flatten().map(f64::from));
        environment.new_doubles(&facts)
    })
}

/// The names of a model's labels.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_labels(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
) -> jobjectArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || environment.new_texts(model(number)?.labels()))
}

/// Runs a model once.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_warmUp(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
    cancellation: jlong,
) {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, (), || Ok(asked(number, cancellation)?.warm_up()?));
}

/// The number of a new cancellation.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_newCancellation(
    environment: *mut JNIEnv,
    _class: jclass,
) -> jlong {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, 0, || Ok(CANCELLATIONS.insert(Cancellation::new())))
}

/// Ends the calls of a cancellation.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_cancel(
    environment: *mut JNIEnv,
    _class: jclass,
    cancellation: jlong,
) {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, (), || {
        if let Some(cancellation) = CANCELLATIONS.get(cancellation) {
            cancellation.cancel();
        }
        Ok(())
    });
}

/// Forgets a cancellation.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_forget(
    environment: *mut JNIEnv,
    _class: jclass,
    cancellation: jlong,
) {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, (), || {
        CANCELLATIONS.remove(cancellation);
        Ok(())
    });
}

/// The texts of a call, or pairs of them.
struct Texts {
    firsts: Vec<String>,
    seconds: Option<Vec<String>>,
}

impl Texts {
    fn new(
        environment: Environment,
        firsts: jobjectArray,
        seconds: jobjectArray,
    ) -> Result<Self, Failure> {
        let firsts = environment.texts("texts", firsts)?;
        let there = (!seconds.is_null()).then_some(seconds);
        let seconds = there.map(|seconds| environment.texts("seconds", seconds)).transpose()?;
        match seconds.as_ref().map(Vec::len) {
            Some(count) if count != firsts.len() => {
                let message = format!("there are {} texts and {count} seconds", firsts.len());
                Err(Failure::new(Kind::Argument, message))
            }
            _ => Ok(Self { firsts, seconds }),
        }
    }

    fn inputs(&self) -> Vec<TextInput<'_>> {
        let firsts = self.firsts.iter().map(String::as_str);
        match &self.seconds {
            None => firsts.map(TextInput::Single).collect(),
            Some(seconds) => {
                let seconds = seconds.iter().map(String::as_str);
                firsts.zip(seconds).map(TextInput::from).collect()
            }
        }
    }
}

/// The probabilities of the labels of each text, in the order of the labels.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_classify(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
    cancellation: jlong,
    firsts: jobjectArray,
    seconds: jobjectArray,
) -> jfloatArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || {
        let texts = Texts::new(environment, firsts, seconds)?;
        let rows = asked(number, cancellation)?.probabilities(&texts.inputs())?;
        environment.new_floats(&flat(rows))
    })
}

/// The score of each text.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_score(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
    cancellation: jlong,
    firsts: jobjectArray,
    seconds: jobjectArray,
) -> jfloatArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || {
        let texts = Texts::new(environment, firsts, seconds)?;
        environment.new_floats(&asked(number, cancellation)?.score(&texts.inputs())?)
    })
}

/// The embedding of each text.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_embed(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
    cancellation: jlong,
    texts: jobjectArray,
) -> jfloatArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || {
        let texts = Texts::new(environment, texts, ptr::null_mut())?;
        environment.new_floats(&flat(asked(number, cancellation)?.embed(&texts.inputs())?))
    })
}

/// The answers to a question: of each its begin and end in UTF-16, its probability and score.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_answer(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
    cancellation: jlong,
    question: jbyteArray,
    text: jbyteArray,
    count: jint,
) -> jdoubleArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || {
        let question = environment.text("question", question)?;
        let text = environment.text("text", text)?;
        let count = usize::try_from(count).unwrap_or(0);
        let answers = asked(number, cancellation)?.answer(&question, &text, count)?;
        let values = answers.iter().flat_map(|answer| {
            let (start, end) = (utf16(&text, answer.bytes.0), utf16(&text, answer.bytes.1));
            [start, end, answer.probability.into(), answer.score.into()]
        });
        environment.new_doubles(&values.collect::<Vec<f64>>())
    })
}

/// The labelled parts of a text: of each its begin and end in UTF-16, its label's number and its
/// probability.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_tag(
    environment: *mut JNIEnv,
    _class: jclass,
    number: jlong,
    cancellation: jlong,
    text: jbyteArray,
) -> jdoubleArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || {
        let text = environment.text("text", text)?;
        let tags = asked(number, cancellation)?.tag(&[&text])?;
        let values = tags.iter().flatten().flat_map(|tag| {
            let (start, end) = (utf16(&text, tag.bytes.0), utf16(&text, tag.bytes.1));
            [start, end, tag.index as f64, tag.probability.into()]
        });
        environment.new_doubles(&values.collect::<Vec<f64>>())
    })
}

/// Measures a bundle: gives the record, and puts the latency into the array.
///
/// # Safety
/// As [`Java_autotinybert_Native_open`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_autotinybert_Native_measure(
    environment: *mut JNIEnv,
    _class: jclass,
    path: jbyteArray,
    bytes: jbyteArray,
    descriptor: jint,
    offset: jlong,
    length: jlong,
    turns: jint,
    seconds: jdouble,
    cores: jintArray,
    latency_ms: jdoubleArray,
) -> jbyteArray {
    // SAFETY: as the caller says.
    let environment = unsafe { Environment::new(environment) };
    guarded(environment, ptr::null_mut(), || {
        let bundle = Source { path, bytes, descriptor, offset, length }.open(environment)?;
        let core = |core: i32| {
            let refused = |_| Failure::new(Kind::Argument, format!("there is no core {core}"));
            usize::try_from(core).map_err(refused)
        };
        let cores = environment.integers("cores", cores)?.into_iter().map(core);
        let options = MeasureOptions {
            turns: usize::try_from(turns).unwrap_or(1).max(1),
            cores: cores.collect::<Result<_, _>>()?,
            seconds: (seconds > 0.0).then_some(seconds),
        };
        let found = measure(bundle, &options)?;
        environment.put_double(latency_ms, found.latency_ms)?;
        environment.new_bytes(found.text.as_bytes())
    })
}
