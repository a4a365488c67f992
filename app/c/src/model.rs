//! Opening bundles and asking what they give.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::ptr;

use atb_app::{Bundle, Bytes, Model, OpenOptions, Task};

use crate::arguments::{handle, missing, text};
use crate::status::{Failure, atb_error, atb_status, guarded};

/// A loaded bundle.
pub struct atb_model {
    pub(crate) inner: Model,
    labels: Vec<CString>,
}

/// A flag of atb_model_open: every part's digest is checked first.
pub const ATB_CHECK_DIGESTS: u32 = 1;

/// A task: atb_classify.
pub const ATB_TASK_CLASSIFY: u32 = 0;
/// A task: atb_score.
pub const ATB_TASK_SCORE: u32 = 1;
/// A task: atb_embed.
pub const ATB_TASK_EMBED: u32 = 2;
/// A task: atb_answer.
pub const ATB_TASK_ANSWER: u32 = 3;
/// A task: atb_tag.
pub const ATB_TASK_TAG: u32 = 4;

/// The version of this library.
#[unsafe(no_mangle)]
pub extern "C" fn atb_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Bytes of the caller's, for the time of a call.
struct Borrowed(*const u8, usize);

// SAFETY: the bytes are only read, and the caller keeps them until the call returns, which is
// when nothing refers to them any more.
unsafe impl Send for Borrowed {}
// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `atb_model_open_bytes` checked that it is not NULL, and its caller says that
        // so many bytes can be read.
        unsafe { std::slice::from_raw_parts(self.0, self.1) }
    }
}

/// Opens the bundle that `bundle` gives and hands it out.
///
/// # Safety
/// `model` is NULL or may be written to.
unsafe fn open(
    model: *mut *mut atb_model,
    flags: u32,
    bundle: impl FnOnce() -> Result<Bundle, Failure>,
) -> Result<(), Failure> {
    if model.is_null() {
        return Err(missing("model"));
    }
    if flags & !ATB_CHECK_DIGESTS != 0 {
        let message = format!("there are no such flags as {flags:#x}");
        return Err(Failure::new(atb_status::Argument, message));
    }
    let options = OpenOptions { check_digests: flags & ATB_CHECK_DIGESTS != 0 };
    let inner = Model::of_bundle(&bundle()?, options)?;
    let labels = inner
        .labels()
        .iter()
        .map(|label| CString::new(label.replace('\0', "?")).unwrap_or_default());
    let opened = Box::new(atb_model { labels: labels.collect(), inner });
    // SAFETY: not NULL, and the caller says that it may be written to.
    unsafe { model.write(Box::into_raw(opened)) };
    Ok(())
}

/// Opens the bundle at `path`, a folder or one file, and puts it into `*model`; free it with
/// atb_model_free. `flags` are 0 or ATB_CHECK_DIGESTS.
///
/// # Safety
/// `path` is a text; `model` may be written to; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_open(
    path: *const c_char,
    flags: u32,
    model: *mut *mut atb_model,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let path = unsafe { text("path", path) }?;
        // SAFETY: as the caller says.
        unsafe { open(model, flags, || Ok(bundle_at(path)?)) }
    })
}

/// The bundle at `path`.
pub(crate) fn bundle_at(path: &str) -> Result<Bundle, atb_app::ModelError> {
    Ok(Bundle::open(Path::new(path))?)
}

/// Opens a bundle in one file of which the `length` bytes at `bytes` are at hand. They are not
/// needed any more when this returns.
///
/// # Safety
/// As atb_model_open; `bytes` has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_open_bytes(
    bytes: *const c_void,
    length: usize,
    flags: u32,
    model: *mut *mut atb_model,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        if bytes.is_null() {
            return Err(missing("bytes"));
        }
        let bytes = Bytes::new(Borrowed(bytes.cast(), length));
        let bundle = || Ok(Bundle::from_bytes("bundle", bytes).map_err(atb_app::ModelError::from)?);
        // SAFETY: as the caller says.
        unsafe { open(model, flags, bundle) }
    })
}

/// Opens a bundle in one file that is `length` bytes of the open file `fd` from `offset` on, as
/// the assets of an Android app are; a length of 0 is all that follow. The file stays the
/// caller's, and may be closed when this returns.
///
/// # Safety
/// As atb_model_open; `fd` is open.
#[cfg(unix)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_open_fd(
    fd: i32,
    offset: u64,
    length: u64,
    flags: u32,
    model: *mut *mut atb_model,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        unsafe { open(model, flags, || bundle_in(fd, offset, length)) }
    })
}

/// The bundle in one file that lies in the open file `fd`.
///
/// # Safety
/// `fd` is open, or no file's number.
#[cfg(unix)]
pub(crate) unsafe fn bundle_in(fd: i32, offset: u64, length: u64) -> Result<Bundle, Failure> {
    use std::os::fd::BorrowedFd;

    let failed = |problem: &dyn std::fmt::Display| {
        Failure::new(atb_status::Argument, format!("`fd` is {fd}: {problem}"))
    };
    if fd < 0 {
        return Err(failed(&"it is no open file"));
    }
    // SAFETY: as the caller says; a number without a file gives an error of the system.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    let file = std::fs::File::from(fd.map_err(|error| failed(&error))?);
    let length = (length > 0).then_some(length);
    let bundle = Bundle::from_file("bundle", &file, offset, length);
    Ok(bundle.map_err(atb_app::ModelError::from)?)
}

/// Frees a model.
///
/// # Safety
/// `model` is NULL or one that was not freed and that no call has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_free(model: *mut atb_model) {
    if !model.is_null() {
        // SAFETY: as the caller says; `open` made it by `Box::into_raw`.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// Whether a model can be asked for a task, one of ATB_TASK_*.
///
/// # Safety
/// `model` is NULL or one that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_gives(model: *const atb_model, task: u32) -> bool {
    let task = match task {
        ATB_TASK_CLASSIFY => Task::Classify,
        ATB_TASK_SCORE => Task::Score,
        ATB_TASK_EMBED => Task::Embed,
        ATB_TASK_ANSWER => Task::Answer,
        ATB_TASK_TAG => Task::Tag,
        _ => return false,
    };
    // SAFETY: as the caller says.
    unsafe { model.as_ref() }.is_some_and(|model| model.inner.gives(task))
}

/// How many labels a model tells apart; 0 if it gives none.
///
/// # Safety
/// `model` is NULL or one that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_label_count(model: *const atb_model) -> usize {
    // SAFETY: as the caller says.
    unsafe { model.as_ref() }.map_or(0, |model| model.labels.len())
}

/// The name of a label; NULL if there are not so many. It lives as long as the model.
///
/// # Safety
/// `model` is NULL or one that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_label(model: *const atb_model, index: usize) -> *const c_char {
    // SAFETY: as the caller says.
    let model = unsafe { model.as_ref() };
    let label = model.and_then(|model| model.labels.get(index));
    label.map_or(ptr::null(), |label| label.as_ptr())
}

/// Values of an embedding; 0 if the model gives none.
///
/// # Safety
/// `model` is NULL or one that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_embedding_size(model: *const atb_model) -> usize {
    // SAFETY: as the caller says.
    unsafe { model.as_ref() }.and_then(|model| model.inner.embedding_size()).unwrap_or(0)
}

/// Most tokens of a text that count; the rest of it is left out, but for atb_answer.
///
/// # Safety
/// `model` is NULL or one that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_sequence(model: *const atb_model) -> usize {
    // SAFETY: as the caller says.
    unsafe { model.as_ref() }.map_or(0, |model| model.inner.sequence())
}

/// Whether the bundle says what scores lie between, and if so that.
///
/// # Safety
/// `model` is NULL or one that was not freed; `least` and `largest` are NULL or may be written
/// to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_score_range(
    model: *const atb_model,
    least: *mut f32,
    largest: *mut f32,
) -> bool {
    // SAFETY: as the caller says.
    let range = unsafe { model.as_ref() }.and_then(|model| model.inner.score_range());
    let Some([low, high]) = range else { return false };
    for (to, value) in [(least, low), (largest, high)] {
        if !to.is_null() {
            // SAFETY: as the caller says.
            unsafe { to.write(value) };
        }
    }
    true
}

/// Runs a text as long as the model takes, so that the next call does not pay for what only the
/// first does.
///
/// # Safety
/// `model` was not freed; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_model_warm_up(
    model: *const atb_model,
    error: *mut *mut atb_error,
) -> atb_status {
    // SAFETY: as the caller says.
    guarded(error, || Ok(unsafe { handle("model", model) }?.inner.warm_up()?))
}
