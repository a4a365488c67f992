//! Weights files: what tensors they hold and where, and the tensors' values.
//!
//! Both formats come down to the same: a map of the file's bytes, and for each tensor its
//! type, shape and place in them. No reader copies more than the tensor that is asked for.

mod pickle;
mod safetensors;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;

use crate::CheckpointError;

pub(crate) use self::safetensors::{shards, tensors};
pub(crate) use pickle::tensors as pickled_tensors;

/// What the name of an i8 tensor's scales ends in: they are a tensor of their own, of one value
/// a row, by which the row's elements are multiplied.
pub(crate) const SCALE_SUFFIX: &str = ".scale";

/// Axes of a tensor; those of a BERT have at most two.
const MAX_AXES: usize = 8;

/// Type of a tensor's elements, as far as it can become f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    /// Steps of a scale that each row has, see [`SCALE_SUFFIX`].
    I8,
    F16,
    BF16,
    F32,
    F64,
    /// Any other, by its name in the file.
    Other(String),
}

impl Dtype {
    /// Bytes of an element; 0 for types that are not read.
    fn size(&self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Other(_) => 0,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I8 => "i8",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Other(name) => name,
        })
    }
}

/// Where a tensor is in its file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Elements from one index of an axis to the next.
    strides: Vec<usize>,
    /// Bytes from the file's beginning to the first element.
    offset: usize,
}

impl Entry {
    /// A tensor whose storage is `storage` bytes long and begins `start` bytes into the
    /// file; its first element is the storage's `first`. `None` if it does not lie within.
    fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        first: usize,
        (start, storage): (usize, usize),
    ) -> Option<Self> {
        if shape.len() > MAX_AXES || strides.len() != shape.len() {
            return None;
        }
        let size = dtype.size();
        if size == 0 {
            return Some(Self { dtype, shape, strides, offset: start });
        }
        let available = storage / size;
        let count = shape.iter().try_fold(1usize, |count, axis| count.checked_mul(*axis))?;
        if count > available {
            return None;
        }
        if count > 0 {
            let last = shape.iter().zip(&strides).try_fold(first, |last, (axis, stride)| {
                last.checked_add((axis - 1).checked_mul(*stride)?)
            })?;
            if last >= available {
                return None;
            }
        }
        let offset = start.checked_add(first.checked_mul(size)?)?;
        Some(Self { dtype, shape, strides, offset })
    }

    /// Strides of a tensor that is stored row by row; `None` if its size has no number.
    fn row_by_row(shape: &[usize]) -> Option<Vec<usize>> {
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].checked_mul(shape[axis])?;
        }
        Some(strides)
    }
}

/// The bytes of a weights file.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

/// One weights file.
pub(crate) struct WeightsFile {
    pub(crate) path: PathBuf,
    bytes: Bytes,
}

impl WeightsFile {
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = fs_err::File::open(path)?;
        // SAFETY: the mapping is read only. Another process that cuts the file short while it
        // is mapped would end this one with a bus error, as for every memory-mapped model.
        let map = unsafe { Mmap::map(file.file()) }?;
        Ok(Self { path: path.to_owned(), bytes: Bytes::Mapped(map) })
    }

    pub(crate) fn embedded(path: PathBuf, bytes: &'static [u8]) -> Self {
        Self { path, bytes: Bytes::Embedded(bytes) }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Embedded(bytes) => bytes,
        }
    }

    /// SHA-256, in hexadecimal.
    pub(crate) fn digest(&self) -> String {
        atb_files::digest(self.bytes())
    }

    /// The values of a tensor of this file, row by row; `None` for types that are not read.
    pub(crate) fn values(&self, entry: &Entry) -> Option<Vec<f32>> {
        let bytes = self.bytes().get(entry.offset..)?;
        match entry.dtype {
            Dtype::I8 => gather(bytes, entry, |e| f32::from(i8::from_le_bytes(e))),
            Dtype::F16 => gather(bytes, entry, |e| f16::from_le_bytes(e).to_f32()),
            Dtype::BF16 => gather(bytes, entry, |e| bf16::from_le_bytes(e).to_f32()),
            Dtype::F32 => gather(bytes, entry, f32::from_le_bytes),
            Dtype::F64 => gather(bytes, entry, |e| f64::from_le_bytes(e) as f32),
            Dtype::Other(_) => None,
        }
    }

    fn corrupt(&self, message: impl fmt::Display, remedy: &'static str) -> CheckpointError {
        CheckpointError::Corrupt { path: self.path.clone(), message: message.to_string(), remedy }
    }
}

/// The elements of a tensor whose first is the first of `bytes`.
fn gather<const N: usize>(
    bytes: &[u8],
    entry: &Entry,
    read: impl Fn([u8; N]) -> f32,
) -> Option<Vec<f32>> {
    let (elements, _) = bytes.as_chunks::<N>();
    let count: usize = entry.shape.iter().product();
    if Entry::row_by_row(&entry.shape)? == entry.strides {
        return Some(elements.get(..count)?.iter().map(|element| read(*element)).collect());
    }
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0; entry.shape.len()];
    for _ in 0..count {
        let place: usize = index.iter().zip(&entry.strides).map(|(i, stride)| i * stride).sum();
        values.push(read(*elements.get(place)?));
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < entry.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(values)
}

/// The tensors of a file, by their names in it.
pub(crate) type Tensors = BTreeMap<String, Entry>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_the_storage_and_sizes_without_a_number_are_refused() {
        let entry = |shape: &[usize], strides: &[usize], first, storage| {
            Entry::new(Dtype::F32, shape.to_vec(), strides.to_vec(), first, (100, storage))
        };
        assert_eq!(entry(&[2, 3], &[3, 1], 1, 28).expect("fits").offset, 104);
        assert!(entry(&[2, 3], &[3, 1], 2, 28).is_none());
        assert!(entry(&[2, 3], &[4, 1], 0, 24).is_none());
        assert!(entry(&[usize::MAX, 2], &[0, 0], 0, 24).is_none());
        assert!(entry(&[2], &[usize::MAX], 1, 24).is_none());
        // One element seen a million times is no tensor of a million.
        assert!(entry(&[1_000_000], &[0], 0, 24).is_none());
        assert!(entry(&[0, 3], &[3, 1], 0, 0).is_some());
    }

    #[test]
    fn transposed_tensors_are_read_row_by_row() {
        let bytes: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
        let entry = Entry::new(Dtype::F32, vec![2, 3], vec![1, 2], 0, (0, 24)).expect("fits");
        let values = gather(&bytes, &entry, f32::from_le_bytes).expect("reads");
        assert_eq!(values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    }
}
