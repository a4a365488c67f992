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

#[cfg(test)]
mod tests {
    use super::super::buffer::Buffer;
    use super::*;

    const HEIGHT: usize = 16;

    /// Features `[depth][HEIGHT]` of all magnitudes; the last tokens have none, one that is no
    /// number, and one that is infinite.
    fn features(depth: usize) -> Vec<f32> {
        let mut features: Vec<f32> = (0..depth * HEIGHT)
            .map(|at| {
                let (k, token) = (at / HEIGHT, at % HEIGHT);
                ((k * 37 + token * 11) % 101) as f32 * 10f32.powi(token as i32 - 8) - 3.0
            })
            .collect();
        for k in 0..depth {
            features[k * HEIGHT + 13] = 0.0;
        }
        features[14] = f32::NAN;
        features[15] = f32::NEG_INFINITY;
        features
    }

    #[test]
    fn every_kernel_multiplies_what_was_rounded() {
        for level in [Level::Base, Level::detect()] {
            for tile in IntegerTile::all() {
                for depth in [1, 3, 4, 7, 64, 129] {
                    multiplies(&tile, level, depth);
                }
            }
        }
    }

    fn multiplies(tile: &IntegerTile, level: Level, depth: usize) {
        let from = features(depth);
        let mut rounded = Buffer::new(tile.stride(depth, HEIGHT));
        // SAFETY: as large as is asked for.
        unsafe { tile.round::<HEIGHT>(level, depth, from.as_ptr(), rounded.as_mut_ptr()) };
        let weight = |k: usize, output: usize| ((k * 29 + output * 53) % 255) as i8;
        let mut weights = Buffer::new(tile.bytes(depth, tile.nr).div_ceil(4));
        // SAFETY: as many bytes as it has.
        let steps = unsafe {
            let start = weights.as_mut_ptr().cast::<i8>();
            std::slice::from_raw_parts_mut(start, tile.bytes(depth, tile.nr))
        };
        for k in 0..depth {
            for output in 0..tile.nr {
                steps[tile.place(tile.nr, k, output)] = weight(k, output);
            }
        }
        let scales: Vec<f32> = (0..tile.nr).map(|output| 0.01 * (1 + output) as f32).collect();
        let bias: Vec<f32> = (0..tile.nr).map(|output| output as f32).collect();
        // Outputs by pairs, tokens one after the other; and the other way round.
        for (unit, row, column) in [(2, 1, HEIGHT), (tile.nr, tile.nr, 1)] {
            let mut stored = vec![f32::MAX; HEIGHT * tile.nr];
            let start = stored.as_mut_ptr();
            for first in (0..HEIGHT).step_by(tile.mr) {
                let tokens = Tokens { panel: rounded.as_ptr(), height: HEIGHT, first };
                let outputs = Outputs {
                    steps: weights.as_ptr().cast(),
                    scales: scales.as_ptr(),
                    bias: bias.as_ptr(),
                };
                let place = |at: usize| {
                    let start = start.wrapping_add(at * column);
                    (unit - at % unit, Place { start, row, column })
                };
                // SAFETY: panels as they were made, and places within what is stored.
                unsafe { tile.run(level, depth, tokens, outputs, 1..tile.nr, place) };
            }
            for token in 0..HEIGHT {
                let largest =
                    (0..depth).map(|k| from[k * HEIGHT + token].abs()).fold(0.0, f32::max);
                for output in 0..tile.nr {
                    let found = stored[token * row + output * column];
                    if output == 0 {
                        assert_eq!(found, f32::MAX, "not asked for");
                        continue;
                    }
                    if token > 13 {
                        assert!(found.is_nan(), "{found} of what is no number");
                        continue;
                    }
                    let exact: f64 = (0..depth)
                        .map(|k| f64::from(from[k * HEIGHT + token]) * f64::from(weight(k, output)))
                        .sum();
                    let exact = exact * f64::from(scales[output]) + f64::from(bias[output]);
                    // Half a step of each feature, and the rounding of f32.
                    let sum: f64 = (0..depth).map(|k| f64::from(weight(k, output)).abs()).sum();
                    let step = f64::from(largest) / 127.0 * f64::from(scales[output]);
                    let bound = 0.5001 * step * sum + 1e-6 * (exact.abs() + 1.0);
                    let error = (f64::from(found) - exact).abs();
                    assert!(
                        error <= bound,
                        "{}, depth {depth}, token {token}, output {output}: {error} of {bound}",
                        tile.name
                    );
                }
            }
        }
    }
}
