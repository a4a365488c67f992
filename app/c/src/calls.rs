//! Asking a model.

use std::ffi::c_char;

use atb_app::{Model, ModelError, TextInput};

use crate::arguments::{handle, missing, room, text, texts, write_rows};
use crate::cancellation::atb_cancellation;
use crate::model::atb_model;
use crate::status::{Failure, atb_error, atb_status, guarded};

/// A part of a text that answers a question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct atb_answer_span {
    /// Where it begins in the text, in bytes.
    pub start_byte: usize,
    /// Where it ends.
    pub end_byte: usize,
    /// Where it begins in the text, in characters (Unicode scalar values).
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// How probable it is among the answers that were found, from 0 to 1.
    pub probability: f32,
    /// The sum of the logits of its begin and end, to compare answers from several texts by.
    pub score: f32,
}

/// A labelled part of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct atb_tag_span {
    /// Where it begins in the text, in bytes.
    pub start_byte: usize,
    /// Where it ends.
    pub end_byte: usize,
    /// Where it begins in the text, in characters (Unicode scalar values).
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The number of its first word's label, whose name atb_model_label gives, with the `B-` or
    /// `I-` that says whether a part begins or goes on.
    pub label: usize,
    /// How probable the label is, from 0 to 1.
    pub probability: f32,
}

/// The model, with the cancellation that the call was given.
///
/// # Safety
/// Both are NULL or were not freed.
unsafe fn asked(
    model: *const atb_model,
    cancellation: *const atb_cancellation,
) -> Result<Model, Failure> {
    // SAFETY: as the caller says.
    let model = &unsafe { handle("model", model) }?.inner;
    // SAFETY: as the caller says.
    Ok(match unsafe { cancellation.as_ref() } {
        Some(cancellation) => model.cancelled_by(&cancellation.inner),
        None => model.clone(),
    })
}

/// What a model says of each text, or pair of texts where there are `seconds`.
///
/// # Safety
/// `firsts` has `count` texts, and so has `seconds` where it is not NULL.
unsafe fn each<T>(
    firsts: *const *const c_char,
    seconds: *const *const c_char,
    count: usize,
    ask: impl FnOnce(&[TextInput<'_>]) -> Result<Vec<T>, ModelError>,
) -> Result<Vec<T>, Failure> {
    // SAFETY: as the caller says.
    let firsts = unsafe { texts("texts", firsts, count) }?;
    let inputs: Vec<TextInput<'_>> = if seconds.is_null() {
        firsts.into_iter().map(TextInput::Single).collect()
    } else {
        // SAFETY: as the caller says.
        let seconds = unsafe { texts("seconds", seconds, count) }?;
        firsts.into_iter().zip(seconds).map(TextInput::from).collect()
    };
    Ok(ask(&inputs)?)
}

/// The probabilities of the labels of `count` texts: `probabilities` gets
/// atb_model_label_count(model) values for each, in the order of the labels.
///
/// `seconds` is NULL, or has the second text of each pair. `cancellation` may be NULL.
///
/// # Safety
/// The handles were not freed; `texts` and `seconds`, unless it is NULL, have `count` texts;
/// `probabilities` may be written to for `capacity` values; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_classify(
    model: *const atb_model,
    texts: *const *const c_char,
    seconds: *const *const c_char,
    count: usize,
    probabilities: *mut f32,
    capacity: usize,
    cancellation: *const atb_cancellation,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let model = unsafe { asked(model, cancellation) }?;
        room("probabilities", count.saturating_mul(model.labels().len()), probabilities, capacity)?;
        // SAFETY: as the caller says.
        let rows = unsafe { each(texts, seconds, count, |texts| model.probabilities(texts)) }?;
        // SAFETY: as the caller says.
        unsafe { write_rows("probabilities", &rows, probabilities, capacity) }
    })
}

/// The scores of `count` texts, one each, within atb_model_score_range. `seconds` is NULL, or has
/// the second text of each pair. `cancellation` may be NULL.
///
/// # Safety
/// As atb_classify.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_score(
    model: *const atb_model,
    texts: *const *const c_char,
    seconds: *const *const c_char,
    count: usize,
    scores: *mut f32,
    capacity: usize,
    cancellation: *const atb_cancellation,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let model = unsafe { asked(model, cancellation) }?;
        room("scores", count, scores, capacity)?;
        // SAFETY: as the caller says.
        let row = unsafe { each(texts, seconds, count, |texts| model.score(texts)) }?;
        // SAFETY: as the caller says.
        unsafe { write_rows("scores", &[row], scores, capacity) }
    })
}

/// The embeddings of `count` texts: `vectors` gets atb_model_embedding_size(model) values for
/// each. `cancellation` may be NULL.
///
/// # Safety
/// As atb_classify.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_embed(
    model: *const atb_model,
    texts: *const *const c_char,
    count: usize,
    vectors: *mut f32,
    capacity: usize,
    cancellation: *const atb_cancellation,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let model = unsafe { asked(model, cancellation) }?;
        let size = model.embedding_size().unwrap_or(0);
        room("vectors", count.saturating_mul(size), vectors, capacity)?;
        let ask = |texts: &[TextInput<'_>]| model.embed(texts);
        // SAFETY: as the caller says.
        let rows = unsafe { each(texts, std::ptr::null(), count, ask) }?;
        // SAFETY: as the caller says.
        unsafe { write_rows("vectors", &rows, vectors, capacity) }
    })
}

/// The parts of `text` that answer `question` best, at most `capacity`, the most probable first:
/// `answers` gets them and `*found` their number. A long text is read in windows that overlap.
/// `cancellation` may be NULL.
///
/// # Safety
/// The handles were not freed; `question` and `text` are texts; `answers` may be written to for
/// `capacity` answers and `found` for one number; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_answer(
    model: *const atb_model,
    question: *const c_char,
    text: *const c_char,
    answers: *mut atb_answer_span,
    capacity: usize,
    found: *mut usize,
    cancellation: *const atb_cancellation,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let model = unsafe { asked(model, cancellation) }?;
        // SAFETY: as the caller says.
        let (question, text) =
            unsafe { (self::text("question", question)?, self::text("text", text)?) };
        if found.is_null() {
            return Err(missing("found"));
        }
        let best = model.answer(question, text, capacity)?;
        let spans = best.iter().map(|answer| atb_answer_span {
            start_byte: answer.bytes.0,
            end_byte: answer.bytes.1,
            start: answer.start,
            end: answer.end,
            probability: answer.probability,
            score: answer.score,
        });
        let spans: Vec<atb_answer_span> = spans.collect();
        let count = spans.len();
        // SAFETY: as the caller says.
        unsafe { write_rows("answers", &[spans], answers, capacity) }?;
        // SAFETY: not NULL, and as the caller says.
        unsafe { found.write(count) };
        Ok(())
    })
}

/// The labelled parts of `text`, in their order: `tags` gets them and `*found` their number, also
/// where it is more than `capacity`. A word has the label of its first token; neighbouring words of
/// one label are one part, unless the later one's label begins with `B-`, and words labelled `O`
/// are left out. A long text is read in windows that overlap. `cancellation` may be NULL.
///
/// # Safety
/// The handles were not freed; `text` is a text; `tags` may be written to for `capacity` tags and
/// `found` for one number; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_tag(
    model: *const atb_model,
    text: *const c_char,
    tags: *mut atb_tag_span,
    capacity: usize,
    found: *mut usize,
    cancellation: *const atb_cancellation,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let model = unsafe { asked(model, cancellation) }?;
        // SAFETY: as the caller says.
        let text = unsafe { self::text("text", text) }?;
        if found.is_null() {
            return Err(missing("found"));
        }
        let parts = model.tag(&[text])?.into_iter().flatten();
        let spans = parts.map(|tag| atb_tag_span {
            start_byte: tag.bytes.0,
            end_byte: tag.bytes.1,
            start: tag.start,
            end: tag.end,
            label: tag.index,
            probability: tag.probability,
        });
        let spans: Vec<atb_tag_span> = spans.collect();
        // SAFETY: not NULL, and as the caller says.
        unsafe { found.write(spans.len()) };
        // SAFETY: as the caller says.
        unsafe { write_rows("tags", &[spans], tags, capacity) }
    })
}
