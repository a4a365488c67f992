//! Memory as the kernels want it: aligned, with room to read past the end.

/// Alignment in bytes.
const ALIGNMENT: usize = 64;
/// Values past the end that a kernel may read.
const SPARE: usize = 256;

/// Zeros at first; a fixed length.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer {
    values: Vec<f32>,
    length: usize,
}

impl Buffer {
    pub(super) fn new(length: usize) -> Self {
        Self { values: vec![0.0; length + SPARE + ALIGNMENT / 4], length }
    }

    fn start(&self) -> usize {
        // Alignment follows the allocation, which a clone does not share.
        (self.values.as_ptr() as usize).wrapping_neg() % ALIGNMENT / 4
    }

    pub(super) fn as_ptr(&self) -> *const f32 {
        self.values[self.start()..].as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        // The pointer may reach into what is to spare, so it comes from the whole.
        let start = self.start();
        self.values[start..].as_mut_ptr()
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start()..][..self.length]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        let start = self.start();
        &mut self.values[start..][..self.length]
    }
}
