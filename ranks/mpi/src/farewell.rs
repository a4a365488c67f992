//! What a rank says when the launcher ends it because another rank died.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// The text that is said when the launcher asks this process to end, by `SIGTERM`.
pub(super) struct Farewell(Arc<Mutex<Option<String>>>);

impl Farewell {
    /// Leaves `SIGTERM` to a thread of its own. Threads that are started later inherit that, and
    /// processes do not: the standard library starts them with nothing blocked.
    pub(super) fn prepare() -> Self {
        let text: Arc<Mutex<Option<String>>> = Arc::default();
        // SAFETY: the set is initialised before it is read, and outlives the calls.
        let blocked = unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            let failed =
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            (failed == 0).then_some(set)
        };
        if let Some(set) = blocked {
            let text = text.clone();
            std::thread::spawn(move || {
                let mut signal = 0;
                // SAFETY: both places are this thread's own.
                if unsafe { libc::sigwait(&raw const set, &raw mut signal) } == 0 {
                    end(&text);
                }
            });
        }
        Self(text)
    }

    pub(super) fn say(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

fn end(text: &Mutex<Option<String>>) -> ! {
    if let Some(text) = &*text.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    // SAFETY: nothing of this process runs after it; handlers of its end would wait for MPI.
    unsafe { libc::_exit(128 + libc::SIGTERM) }
}
