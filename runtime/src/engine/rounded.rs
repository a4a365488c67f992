//! Products in 8-bit integers: tract's kernels for them, and what is done before and after.
//!
//! Each token is rounded by itself, to steps of a 127th of its largest feature, so what one token
//! holds has no part in how another is rounded. Sums are exact; one pass turns them to floating
//! point, by the token's step and the output's.

use std::any::Any;
use std::ops::Range;

use tract_linalg::MmmDispatch;
use tract_linalg::mmm::{DynKernel, FusedKerSpec, MMMInputFormat, MatMatMul, OutputStoreKer};
use tract_linalg::pack::{PackedFormat, PackedI8K4};
use tract_onnx::prelude::DatumType;

use super::kernels::Place;
use super::passes::{self, Level};

type Raw = unsafe fn(&[FusedKerSpec<i32>]) -> isize;

/// Values of a kernel's largest tile.
const LARGEST: usize = 16 * 16;
/// Where the steps of a panel begin, in values of f32, is a multiple of this: kernels load them
/// aligned.
const ALIGNMENT: usize = 16;

/// How a kernel takes its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    /// Feature by feature.
    Plain,
    /// Four features of a token side by side, as instructions for dot products want them.
    Fours,
}

/// One kernel: a tile of `mr` tokens and `nr` outputs, summed up in i32.
#[derive(Clone, Debug)]
pub(super) struct IntegerTile {
    pub(super) name: String,
    pub(super) mr: usize,
    pub(super) nr: usize,
    raw: Raw,
    /// The number of its packing of 8-bit operands.
    number: usize,
    packing: Packing,
}

impl IntegerTile {
    fn of(kernel: &dyn MatMatMul) -> Option<Self> {
        let packing = |format: &dyn MMMInputFormat, r: usize| {
            let plain = format.downcast_ref::<PackedFormat>();
            let fours = format.downcast_ref::<PackedI8K4>();
            match (plain, fours) {
                (Some(it), _) if it.dt == DatumType::I8 && it.r == r => Some(Packing::Plain),
                (_, Some(it)) if it.r == r => Some(Packing::Fours),
                _ => None,
            }
        };
        if !kernel.runnable() || kernel.emulated() {
            return None;
        }
        let (mr, nr) = (kernel.mr(), kernel.nr());
        let mut all = kernel.packings().iter().enumerate();
        let (number, packing) = all.find_map(|(number, (a, b))| {
            let same = packing(&**a, mr)?;
            (packing(&**b, nr)? == same).then_some((number, same))
        })?;
        let any: &dyn Any = kernel;
        macro_rules! one_of {
            ($($mr:literal x $nr:literal),*) => {
                $(if let Some(known) = any.downcast_ref::<DynKernel<$mr, $nr, i32>>() {
                    Some(known.kernel)
                } else)* { None }
            };
        }
        let raw = one_of!(16 x 16, 8 x 8, 8 x 4, 4 x 4)?;
        Some(Self { name: kernel.name().to_owned(), mr, nr, raw, number, packing })
    }

    /// Those that this processor runs, generic ones only where there are no others.
    pub(super) fn all() -> Vec<Self> {
        let runnable = MmmDispatch::native().runnable();
        let all = runnable.iter().filter_map(|kernel| Self::of(&**kernel));
        let (generic, native): (Vec<Self>, Vec<Self>) =
            all.partition(|tile| tile.name.starts_with("generic"));
        if native.is_empty() { generic } else { native }
    }

    /// Whether it runs on instructions for dot products, of which each does the work of several
    /// in floating point.
    pub(super) fn is_fast(&self) -> bool {
        self.packing == Packing::Fours
    }

    /// Bytes of a panel of `r` tokens or outputs.
    pub(super) fn bytes(&self, depth: usize, r: usize) -> usize {
        r * match self.packing {
            Packing::Plain => depth,
            Packing::Fours => depth.next_multiple_of(4),
        }
    }

    /// The place of feature `k` of the token or output `at` in its panel of `r`.
    pub(super) fn place(&self, r: usize, k: usize, at: usize) -> usize {
        match self.packing {
            Packing::Plain => k * r + at,
            Packing::Fours => (k / 4 * r + at) * 4 + k % 4,
        }
    }

    /// Values of f32 that a panel of `height` tokens takes when it is rounded: what a step of
    /// each token is worth, then the steps in panels of `mr`.
    pub(super) fn stride(&self, depth: usize, height: usize) -> usize {
        (header(height) + self.bytes(depth, height).div_ceil(4)).next_multiple_of(ALIGNMENT)
    }

    /// Rounds a panel of `MR` tokens.
    ///
    /// # Safety
    /// `from` holds `depth` records of `MR` values, `to` has room for a stride, and is aligned
    /// for the kernels.
    pub(super) unsafe fn round<const MR: usize>(
        &self,
        level: Level,
        depth: usize,
        from: *const f32,
        to: *mut f32,
    ) {
        // SAFETY: as the caller promises; the steps begin after the tokens' own values.
        let (from, steps, worth) = unsafe {
            let from = std::slice::from_raw_parts(from, depth * MR);
            let steps = to.add(header(MR)).cast::<i8>();
            let steps = std::slice::from_raw_parts_mut(steps, self.bytes(depth, MR));
            (from.as_chunks::<MR>().0, steps, &mut *to.cast::<[f32; MR]>())
        };
        let mut factors = [0.0; MR];
        passes::steps::<MR>(level, from, worth, &mut factors);
        match (self.packing, self.mr) {
            (Packing::Plain, 4) => passes::round::<MR, 4>(level, from, &factors, steps),
            (Packing::Plain, 8) => passes::round::<MR, 8>(level, from, &factors, steps),
            (Packing::Plain, _) => passes::round::<MR, 16>(level, from, &factors, steps),
            (Packing::Fours, 4) => passes::round_fours::<MR, 4>(level, from, &factors, steps),
            (Packing::Fours, 8) => passes::round_fours::<MR, 8>(level, from, &factors, steps),
            (Packing::Fours, _) => passes::round_fours::<MR, 16>(level, from, &factors, steps),
        }
    }

    /// Stores one tile: `mr` of the tokens of a rounded panel, from number `first` on, by a panel
    /// of weights. Only the outputs `columns` of the tile are stored, those from one multiple of
    /// `unit` to the next where `place` says; the tile's first is number `at`.
    ///
    /// # Safety
    /// `tokens` holds a rounded panel and `weights.steps` a panel of weights, each with a record
    /// to spare, `weights.scales` and `weights.bias` a value for each output of the tile, and
    /// each place has room for `mr` tokens.
    #[inline]
    pub(super) unsafe fn run(
        &self,
        level: Level,
        depth: usize,
        tokens: Tokens,
        weights: Outputs,
        columns: Range<usize>,
        place: impl Fn(usize) -> (usize, Place),
    ) {
        #[repr(align(64))]
        struct Sums([i32; LARGEST]);
        let mut sums = Sums([0; LARGEST]);
        // SAFETY: as the caller promises.
        let worth = unsafe {
            let start = tokens.panel.add(header(tokens.height)).cast::<u8>();
            let product = FusedKerSpec::AddMatMul {
                k: depth,
                pa: start.add(self.bytes(depth, tokens.first)),
                pb: weights.steps.cast(),
                packing: self.number,
            };
            let store = FusedKerSpec::Store(OutputStoreKer {
                ptr: sums.0.as_mut_ptr().cast(),
                row_byte_stride: 4,
                col_byte_stride: 4 * self.mr as isize,
                item_size: 4,
            });
            (self.raw)(&[FusedKerSpec::Clear, product, store, FusedKerSpec::Done]);
            std::slice::from_raw_parts(tokens.panel.add(tokens.first), self.mr)
        };
        let mut column = columns.start;
        while column < columns.end {
            let (left, Place { start, row, column: step }) = place(column);
            let count = left.min(columns.end - column);
            let length = (count - 1) * step + (self.mr - 1) * row + 1;
            // SAFETY: as the caller promises.
            let (to, scales, bias) = unsafe {
                (
                    std::slice::from_raw_parts_mut(start.add(tokens.first * row), length),
                    std::slice::from_raw_parts(weights.scales.add(column), count),
                    std::slice::from_raw_parts(weights.bias.add(column), count),
                )
            };
            let sums = &sums.0[column * self.mr..(column + count) * self.mr];
            let by = passes::Outputs { scales, bias, row, step };
            match self.mr {
                4 => passes::to_floats::<4>(level, to, sums, worth, by),
                8 => passes::to_floats::<8>(level, to, sums, worth, by),
                _ => passes::to_floats::<16>(level, to, sums, worth, by),
            }
            column += count;
        }
    }
}

/// Those of a rounded panel of `height` tokens that a tile takes, from number `first` on.
#[derive(Clone, Copy)]
pub(super) struct Tokens {
    pub(super) panel: *const f32,
    pub(super) height: usize,
    pub(super) first: usize,
}

/// A panel of weights: their steps, what a step is worth for each output, and its bias.
#[derive(Clone, Copy)]
pub(super) struct Outputs {
    pub(super) steps: *const i8,
    pub(super) scales: *const f32,
    pub(super) bias: *const f32,
}

/// Values before the steps of a panel.
fn header(height: usize) -> usize {
    height.next_multiple_of(ALIGNMENT)
}
