//! Sessions for any number of threads over one copy of the weights.

use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use crate::session::{Session, SessionError};

/// The sessions of one model.
#[derive(Debug)]
pub(super) struct Pool {
    /// What further sessions are made from.
    first: Mutex<Session>,
    idle: Mutex<Vec<Session>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is half done while one of them is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(super) fn new(first: Session) -> Self {
        Self { first: Mutex::new(first), idle: Mutex::new(Vec::new()) }
    }

    /// Does `work` with a session that nobody else has meanwhile.
    pub(super) fn with<T, E: From<SessionError>>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = locked(&self.idle).pop();
        let mut session = match idle {
            Some(session) => session,
            None => locked(&self.first).another()?,
        };
        let done = work(&mut session);
        let most = available_parallelism().map_or(1, NonZero::get);
        let mut idle = locked(&self.idle);
        // After a burst of threads their memory is given back.
        if idle.len() < most {
            idle.push(session);
        }
        done
    }
}
