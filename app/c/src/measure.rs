//! A bundle's latency on the device at hand.

use std::ffi::{CString, c_char};

use atb_app::{Bundle, MeasureOptions, measure};

use crate::arguments::{missing, text};
use crate::model::bundle_at;
use crate::status::{Failure, atb_error, atb_status, guarded};

/// Measures a bundle and hands out the record.
///
/// # Safety
/// Both pointers are NULL or may be written to.
unsafe fn measured(
    bundle: Result<Bundle, Failure>,
    seconds: f64,
    latency_ms: *mut f64,
    record: *mut *mut c_char,
) -> Result<(), Failure> {
    if latency_ms.is_null() {
        return Err(missing("latency_ms"));
    }
    let seconds = (seconds > 0.0).then_some(seconds);
    let found = measure(bundle?, &MeasureOptions { seconds, ..MeasureOptions::default() })?;
    // SAFETY: not NULL, and the caller says that it may be written to.
    unsafe { latency_ms.write(found.latency_ms) };
    if !record.is_null() {
        let text = CString::new(found.text).unwrap_or_default();
        // SAFETY: as above.
        unsafe { record.write(text.into_raw()) };
    }
    Ok(())
}

/// Measures the bundle at `path` on this device, by the protocol of `atb bench`, on a thread of
/// its own; this returns when it is done, after some seconds to half a minute. `seconds` is the
/// most that each of three turns takes, or 0 for what `atb bench` takes.
///
/// `*latency_ms` gets the latency. `*record` gets what `atb bench --compare` reads: write it to a
/// file, and free it with atb_string_free; NULL if it is not wanted.
///
/// # Safety
/// `path` is a text; `latency_ms` may be written to; `record` and `error` are NULL or may be
/// written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_measure(
    path: *const c_char,
    seconds: f64,
    latency_ms: *mut f64,
    record: *mut *mut c_char,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let path = unsafe { text("path", path) }?;
        // SAFETY: as the caller says.
        unsafe { measured(bundle_at(path).map_err(Failure::from), seconds, latency_ms, record) }
    })
}

/// As atb_measure, of a bundle as atb_model_open_fd takes it.
///
/// # Safety
/// As atb_measure; `fd` is open.
#[cfg(unix)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_measure_fd(
    fd: i32,
    offset: u64,
    length: u64,
    seconds: f64,
    latency_ms: *mut f64,
    record: *mut *mut c_char,
    error: *mut *mut atb_error,
) -> atb_status {
    guarded(error, || {
        // SAFETY: as the caller says.
        let bundle = unsafe { crate::model::bundle_in(fd, offset, length) };
        // SAFETY: as the caller says.
        unsafe { measured(bundle, seconds, latency_ms, record) }
    })
}

/// Frees a text that this library made.
///
/// # Safety
/// `text` is NULL or one that a function of this library gave and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: as the caller says; it came from `CString::into_raw`.
        drop(unsafe { CString::from_raw(text) });
    }
}
