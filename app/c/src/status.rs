//! Statuses and errors.

use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use atb_app::{MeasureError, ModelError, told};
use miette::Diagnostic;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum atb_status {
    /// It did what was asked.
    Ok = 0,
    /// An argument is NULL, no UTF-8, or of no meaning.
    Argument = 1,
    /// The bundle is missing, damaged, of a newer version, or none.
    Bundle = 2,
    /// The model does not give what it was asked for.
    Task = 3,
    /// The array for the results is too small.
    Capacity = 4,
    /// The call was cancelled.
    Cancelled = 5,
    /// The model failed to run, or could not be measured.
    Failed = 6,
    /// A bug of this library.
    Panic = 7,
}

/// Why a call failed.
pub struct atb_error {
    message: CString,
    help: Option<CString>,
}

/// A failure on its way to the caller.
pub(crate) struct Failure {
    pub(crate) status: atb_status,
    message: String,
    help: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: atb_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), help: None }
    }

    fn of(status: atb_status, error: &dyn Diagnostic) -> Self {
        let (message, help) = told(error);
        Self { status, message, help }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let status = match error.kind() {
            atb_app::ErrorKind::Bundle => atb_status::Bundle,
            atb_app::ErrorKind::Task => atb_status::Task,
            atb_app::ErrorKind::Argument => atb_status::Argument,
            atb_app::ErrorKind::Cancelled => atb_status::Cancelled,
            atb_app::ErrorKind::Failed => atb_status::Failed,
        };
        Self::of(status, &error)
    }
}

impl From<MeasureError> for Failure {
    fn from(error: MeasureError) -> Self {
        match error {
            MeasureError::Model(error) => error.into(),
            error => Self::of(atb_status::Failed, &error),
        }
    }
}

fn text(text: String) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

/// Does `work`, catches what panics in it, and puts its failure into `error`.
pub(crate) fn guarded(
    error: *mut *mut atb_error,
    work: impl FnOnce() -> Result<(), Failure>,
) -> atb_status {
    // What a panic leaves half done is not looked at again: results are written last.
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure::new(atb_status::Panic, "this is a bug of autotinybert, please report it"))
    });
    let Err(Failure { status, message, help }) = done else { return atb_status::Ok };
    if !error.is_null() {
        let made = Box::new(atb_error { message: text(message), help: help.map(text) });
        // SAFETY: not NULL, and the caller says that what it points to may be written.
        unsafe { error.write(Box::into_raw(made)) };
    }
    status
}

/// What went wrong, for an engineer. The text lives as long as the error.
///
/// # Safety
/// `error` is NULL or an error that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_error_message(error: *const atb_error) -> *const c_char {
    // SAFETY: as the caller says.
    unsafe { error.as_ref() }.map_or(ptr::null(), |error| error.message.as_ptr())
}

/// What to do about it; NULL where nothing is known. The text lives as long as the error.
///
/// # Safety
/// `error` is NULL or an error that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_error_help(error: *const atb_error) -> *const c_char {
    // SAFETY: as the caller says.
    let error = unsafe { error.as_ref() };
    error.and_then(|error| error.help.as_ref()).map_or(ptr::null(), |help| help.as_ptr())
}

/// Frees an error.
///
/// # Safety
/// `error` is NULL or an error that was not freed; it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_error_free(error: *mut atb_error) {
    if !error.is_null() {
        // SAFETY: as the caller says; `guarded` made it by `Box::into_raw`.
        drop(unsafe { Box::from_raw(error) });
    }
}
