//! Buffers that are used again, so that a step asks the system for no memory.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Free buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch(Arc<Mutex<Vec<Vec<f32>>>>);

impl Scratch {
    /// A buffer of `length` values, whatever they are.
    pub(super) fn take(&self, length: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough, and not far too large.
        let fits = |buffer: &Vec<f32>| (length..=2 * length).contains(&buffer.capacity());
        let best = (0..free.len()).filter(|i| fits(&free[*i])).min_by_key(|i| free[*i].capacity());
        let mut values = best.map_or_else(Vec::new, |i| free.swap_remove(i));
        drop(free);
        values.resize(length, 0.0);
        Buffer { values, home: self.clone() }
    }
}

/// A buffer that goes back where it came from.
#[derive(Debug)]
pub(super) struct Buffer {
    values: Vec<f32>,
    home: Scratch,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(values);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_given_back_is_taken_again() {
        let scratch = Scratch::default();
        let first = scratch.take(100);
        let place = first.as_ptr();
        drop(first);
        assert_ne!(scratch.take(10).as_ptr(), place, "it would be a waste");
        let again = scratch.take(90);
        assert_eq!((again.as_ptr(), again.len()), (place, 90));
        assert_ne!(scratch.take(90).as_ptr(), place, "it is in use");
    }
}
