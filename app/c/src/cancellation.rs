//! Ending a call from another thread.

use atb_app::Cancellation;

/// Ends the calls that were given it.
pub struct atb_cancellation {
    pub(crate) inner: Cancellation,
}

/// A cancellation that ends nothing yet. Free it with atb_cancellation_free.
#[unsafe(no_mangle)]
pub extern "C" fn atb_cancellation_new() -> *mut atb_cancellation {
    Box::into_raw(Box::new(atb_cancellation { inner: Cancellation::new() }))
}

/// Ends the calls that were given it, also those to come; they return ATB_STATUS_CANCELLED. A
/// call looks at it before each run of the network.
///
/// # Safety
/// `cancellation` is NULL or one that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_cancellation_cancel(cancellation: *const atb_cancellation) {
    // SAFETY: as the caller says.
    if let Some(cancellation) = unsafe { cancellation.as_ref() } {
        cancellation.inner.cancel();
    }
}

/// Frees a cancellation.
///
/// # Safety
/// `cancellation` is NULL or one that was not freed and that no call has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atb_cancellation_free(cancellation: *mut atb_cancellation) {
    if !cancellation.is_null() {
        // SAFETY: as the caller says; `atb_cancellation_new` made it by `Box::into_raw`.
        drop(unsafe { Box::from_raw(cancellation) });
    }
}
