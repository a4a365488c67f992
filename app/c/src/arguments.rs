//! Arguments from C, checked as far as they can be.

use std::ffi::{CStr, c_char};
use std::slice;

use crate::status::{Failure, atb_status};

/// That an argument is missing.
pub(crate) fn missing(name: &str) -> Failure {
    Failure::new(atb_status::Argument, format!("`{name}` is NULL"))
}

/// The text at `text`.
///
/// # Safety
/// `text` is NULL or a text that ends with NUL and lives for `'a`.
pub(crate) unsafe fn text<'a>(name: &str, text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(missing(name));
    }
    // SAFETY: as the caller says.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|error| {
        let at = error.valid_up_to();
        Failure::new(atb_status::Argument, format!("`{name}` is not UTF-8 from byte {at} on"))
    })
}

/// The `count` texts at `texts`.
///
/// # Safety
/// `texts` is NULL or has `count` texts as [`text`] takes them.
pub(crate) unsafe fn texts<'a>(
    name: &str,
    texts: *const *const c_char,
    count: usize,
) -> Result<Vec<&'a str>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if texts.is_null() {
        return Err(missing(name));
    }
    // SAFETY: as the caller says.
    let texts = unsafe { slice::from_raw_parts(texts, count) };
    let number = |number: usize| format!("{name}[{number}]");
    // SAFETY: as the caller says.
    let each = texts.iter().enumerate().map(|(i, one)| unsafe { text(&number(i), *one) });
    each.collect()
}

/// The reference at `handle`.
///
/// # Safety
/// `handle` is NULL or valid for `'a`.
pub(crate) unsafe fn handle<'a, T>(name: &str, handle: *const T) -> Result<&'a T, Failure> {
    // SAFETY: as the caller says.
    unsafe { handle.as_ref() }.ok_or_else(|| missing(name))
}

/// Copies rows of values one after the other to `values`, which has room for `capacity`.
///
/// # Safety
/// `values` is NULL or may be written to for `capacity` values.
pub(crate) unsafe fn write_rows<T: Copy>(
    name: &str,
    rows: &[Vec<T>],
    values: *mut T,
    capacity: usize,
) -> Result<(), Failure> {
    let needed = rows.iter().map(Vec::len).sum();
    room(name, needed, values, capacity)?;
    let mut at = 0;
    for row in rows {
        // SAFETY: the rows fit, as was just checked, and the caller's array is no part of them.
        unsafe { values.add(at).copy_from_nonoverlapping(row.as_ptr(), row.len()) };
        at += row.len();
    }
    Ok(())
}

/// Whether there is room for `needed` values.
pub(crate) fn room<T>(
    name: &str,
    needed: usize,
    values: *const T,
    capacity: usize,
) -> Result<(), Failure> {
    if needed > capacity {
        let message = format!("`{name}` has room for {capacity} values, {needed} are needed");
        return Err(Failure::new(atb_status::Capacity, message));
    }
    if needed > 0 && values.is_null() { Err(missing(name)) } else { Ok(()) }
}
