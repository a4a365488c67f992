//! The library of an app for Kotlin: what the sources in `kotlin/` call.
//!
//! The functions are those of `autotinybert.Native`, by the names that the Java Native Interface
//! looks for. Texts are UTF-8 in arrays of bytes, models and cancellations are numbers: one that
//! was closed, or never was, is an error and no memory. Every function catches panics, and throws
//! what `autotinybert.Native.failure` makes of a failure.

mod calls;
mod environment;
mod failure;
mod guard;
mod source;
mod table;

pub use calls::{
    Java_autotinybert_Native_answer, Java_autotinybert_Native_cancel,
    Java_autotinybert_Native_classify, Java_autotinybert_Native_close,
    Java_autotinybert_Native_embed, Java_autotinybert_Native_facts,
    Java_autotinybert_Native_forget, Java_autotinybert_Native_labels,
    Java_autotinybert_Native_measure, Java_autotinybert_Native_newCancellation,
    Java_autotinybert_Native_open, Java_autotinybert_Native_score, Java_autotinybert_Native_tag,
    Java_autotinybert_Native_warmUp,
};
