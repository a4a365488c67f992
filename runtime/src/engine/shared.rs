//! Where several threads write at the same time: parts of a buffer, and places of tiles in them.

use std::marker::PhantomData;
use std::ops::Range;

use super::buffer::Buffer;

/// A buffer that several threads use, each a part of its own.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    start: *mut f32,
    length: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a pointer to memory that is borrowed for as long; what threads do to one place at
// the same time is the promise of those who call its unsafe functions.
unsafe impl Send for Part<'_> {}
// SAFETY: as above.
unsafe impl Sync for Part<'_> {}

impl<'a> Part<'a> {
    /// With what a kernel may read past its end.
    pub(super) fn whole(buffer: &'a mut Buffer) -> Self {
        Self { start: buffer.as_mut_ptr(), length: buffer.len(), memory: PhantomData }
    }

    pub(super) fn of(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), memory: PhantomData }
    }

    /// From `at` on, which is at most the length.
    pub(super) fn at(self, at: usize) -> *mut f32 {
        debug_assert!(at <= self.length);
        self.start.wrapping_add(at)
    }

    /// The values from `range.start` to `range.end`.
    ///
    /// # Safety
    /// Nobody else uses them for as long as the slice lives.
    pub(super) unsafe fn slice(self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length, "beyond the buffer");
        // SAFETY: within the buffer, and the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Where a tile goes; strides in values.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: *mut f32,
    pub(super) row: usize,
    pub(super) column: usize,
}
