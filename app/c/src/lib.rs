//! The library of an app for C and whatever calls C: `include/autotinybert.h`.
//!
//! Every function catches panics and gives errors as values. The header is made from these files;
//! a test holds that it is current.

#![expect(non_camel_case_types, reason = "the names are C's")]

mod arguments;
mod calls;
mod cancellation;
mod measure;
mod model;
mod status;

pub use calls::{
    atb_answer, atb_answer_span, atb_classify, atb_embed, atb_score, atb_tag, atb_tag_span,
};
pub use cancellation::{
    atb_cancellation, atb_cancellation_cancel, atb_cancellation_free, atb_cancellation_new,
};
pub use measure::{atb_measure, atb_string_free};
pub use model::{
    ATB_CHECK_DIGESTS, ATB_TASK_ANSWER, ATB_TASK_CLASSIFY, ATB_TASK_EMBED, ATB_TASK_SCORE,
    ATB_TASK_TAG, atb_model, atb_model_embedding_size, atb_model_free, atb_model_gives,
    atb_model_label, atb_model_label_count, atb_model_open, atb_model_open_bytes,
    atb_model_score_range, atb_model_sequence, atb_model_warm_up, atb_version,
};
pub use status::{atb_error, atb_error_free, atb_error_help, atb_error_message, atb_status};
#[cfg(unix)]
pub use {measure::atb_measure_fd, model::atb_model_open_fd};
