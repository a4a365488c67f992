//! Which threads have their panics caught.

use std::cell::Cell;

thread_local! {
    /// How many [`Guard`]s this thread holds.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
}

/// Whether a panic on this thread becomes a [`SessionError::Panicked`](crate::SessionError). For
/// the panic hook of a program, which otherwise reports the panic, or even ends the program, before
/// it does.
#[must_use]
pub fn is_guarded() -> bool {
    GUARDS.get() > 0
}

/// Held by whoever catches the panics of this thread, for as long as it does.
pub(crate) struct Guard(());

impl Guard {
    pub(crate) fn begin() -> Self {
        GUARDS.set(GUARDS.get() + 1);
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get() - 1);
    }
}
