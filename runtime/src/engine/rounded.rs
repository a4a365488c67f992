//! Products in 8-bit integers: tract's kernels for them, and what is done before and after.
//!
//! Each token is rounded by itself, to steps of a part of its largest feature, so what one token
//! holds has no part in how another is rounded. Sums are exact; one pass turns them to floating
//! point, by the token's step and the output's.

use std::any::Any;
use std::mem::MaybeUninit;
use std::ops::Range;

use tract_linalg::MmmDispatch;
use tract_linalg::mmm::{DynKernel, FusedKerSpec, MMMInputFormat, MatMatMul, OutputStoreKer};
use tract_linalg::pack::{PackedFormat, PackedI8K4};
use tract_onnx::prelude::DatumType;

use super::passes::{self, Level};
use super::shared::Place;

type Raw = unsafe fn(&[FusedKerSpec<i32>]) -> isize;

/// Values of a kernel's largest tile.
const LARGEST: usize = 16 * 16;
/// Where the steps of a panel begin, in values of f32, is a multiple of this: kernels load them
/// aligned.
const ALIGNMENT: usize = 16;

/// How finely the features of a token are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rounding {
    /// To 127 steps.
    Coarse,
    /// To two digits of steps, multiplied one after the other; the first one alone is what
    /// [`Rounding::Coarse`] gives.
    Fine,
}

/// What a step of the first of two digits is worth in steps of the second.
const BASE: i32 = 128;

impl Rounding {
    /// Steps of a token's largest feature; the first of two digits is at most 127 then.
    fn most(self) -> f32 {
        match self {
            Self::Coarse => 127.0,
            Self::Fine => 127.0 * BASE as f32 + 63.0,
        }
    }

    /// What a step of the first digit is worth in steps of the last.
    pub(super) fn first_digit(self) -> f32 {
        match self {
            Self::Coarse => 1.0,
            Self::Fine => BASE as f32,
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Coarse => 1,
            Self::Fine => 2,
        }
    }

    /// The largest number of inputs of a product for whose sums 32 bits are enough.
    pub(super) fn deepest(self) -> usize {
        i32::MAX as usize / (self.most() as usize * 128)
    }
}

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
    /// each token is worth, then its steps in panels of `mr`, digit by digit.
    pub(super) fn stride(&self, depth: usize, height: usize, rounding: Rounding) -> usize {
        header(height) + rounding.digits() * self.digit(depth, height)
    }

    /// Values of f32 that one digit of a panel takes.
    fn digit(&self, depth: usize, height: usize) -> usize {
        self.bytes(depth, height).div_ceil(4).next_multiple_of(ALIGNMENT)
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
        rounding: Rounding,
        from: *const f32,
        to: *mut f32,
    ) {
        // SAFETY: as the caller promises; the steps begin after the tokens' own values.
        let (from, first, second, worth) = unsafe {
            let from = std::slice::from_raw_parts(from, depth * MR);
            let digit = |number: usize| {
                let start = to.add(header(MR) + number * self.digit(depth, MR)).cast::<i8>();
                std::slice::from_raw_parts_mut(start, self.bytes(depth, MR))
            };
            let second = (rounding == Rounding::Fine).then(|| digit(1));
            (from.as_chunks::<MR>().0, digit(0), second, &mut *to.cast::<[f32; MR]>())
        };
        let mut inverse = [0.0; MR];
        passes::steps::<MR>(level, from, rounding.most(), worth, &mut inverse);
        match second {
            None => self.pack::<MR, { passes::WHOLE }>(level, from, &inverse, first),
            Some(second) => {
                self.pack::<MR, { passes::HIGH }>(level, from, &inverse, first);
                self.pack::<MR, { passes::LOW }>(level, from, &inverse, second);
            }
        }
    }

    /// One digit of features, as the kernel takes it.
    fn pack<const MR: usize, const DIGIT: usize>(
        &self,
        level: Level,
        from: &[[f32; MR]],
        inverse: &[f32; MR],
        to: &mut [i8],
    ) {
        use passes::{round, round_fours};
        match (self.packing, self.mr) {
            (Packing::Plain, 4) => round::<MR, 4, DIGIT>(level, from, inverse, to),
            (Packing::Plain, 8) => round::<MR, 8, DIGIT>(level, from, inverse, to),
            (Packing::Plain, _) => round::<MR, 16, DIGIT>(level, from, inverse, to),
            (Packing::Fours, 4) => round_fours::<MR, 4, DIGIT>(level, from, inverse, to),
            (Packing::Fours, 8) => round_fours::<MR, 8, DIGIT>(level, from, inverse, to),
            (Packing::Fours, _) => round_fours::<MR, 16, DIGIT>(level, from, inverse, to),
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
        struct Sums(
            #[expect(dead_code, reason = "written and read by its address")] [i32; LARGEST],
        );
        let mut sums = MaybeUninit::<Sums>::uninit();
        // SAFETY: as the caller promises; the kernel stores as many sums as are looked at.
        let (sums, worth) = unsafe {
            let product = |digit: usize| {
                let start = header(tokens.height) + digit * self.digit(depth, tokens.height);
                let start = tokens.panel.add(start).cast::<u8>();
                FusedKerSpec::AddMatMul {
                    k: depth,
                    pa: start.add(self.bytes(depth, tokens.first)),
                    pb: weights.steps.cast(),
                    packing: self.number,
                }
            };
            let store = FusedKerSpec::Store(OutputStoreKer {
                ptr: sums.as_mut_ptr().cast(),
                row_byte_stride: 4,
                col_byte_stride: 4 * self.mr as isize,
                item_size: 4,
            });
            let (clear, done) = (FusedKerSpec::Clear, FusedKerSpec::Done);
            if tokens.both {
                let times = FusedKerSpec::ScalarMul(BASE);
                (self.raw)(&[clear, product(0), times, product(1), store, done]);
            } else {
                (self.raw)(&[clear, product(0), store, done]);
            }
            (
                std::slice::from_raw_parts(sums.as_ptr().cast::<i32>(), self.mr * self.nr),
                std::slice::from_raw_parts(tokens.panel.add(tokens.first), self.mr),
            )
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
            let sums = &sums[column * self.mr..(column + count) * self.mr];
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
    /// Whether they have two digits and both count.
    pub(super) both: bool,
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
                    for (rounding, both) in
                        [(Rounding::Coarse, false), (Rounding::Fine, false), (Rounding::Fine, true)]
                    {
                        multiplies(&tile, level, (rounding, both), depth);
                    }
                }
            }
        }
    }

    fn multiplies(
        tile: &IntegerTile,
        level: Level,
        (rounding, both): (Rounding, bool),
        depth: usize,
    ) {
        let from = features(depth);
        let mut rounded = Buffer::new(tile.stride(depth, HEIGHT, rounding));
        // SAFETY: as large as is asked for.
        unsafe {
            tile.round::<HEIGHT>(level, depth, rounding, from.as_ptr(), rounded.as_mut_ptr())
        };
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
        let digit = if both { 1.0 } else { rounding.first_digit() };
        let scaled: Vec<f32> = scales.iter().map(|scale| scale * digit).collect();
        let bias: Vec<f32> = (0..tile.nr).map(|output| output as f32).collect();
        // Outputs by pairs, tokens one after the other; and the other way round.
        for (unit, row, column) in [(2, 1, HEIGHT), (tile.nr, tile.nr, 1)] {
            let mut stored = vec![f32::MAX; HEIGHT * tile.nr];
            let start = stored.as_mut_ptr();
            for first in (0..HEIGHT).step_by(tile.mr) {
                let tokens = Tokens { panel: rounded.as_ptr(), height: HEIGHT, first, both };
                let outputs = Outputs {
                    steps: weights.as_ptr().cast(),
                    scales: scaled.as_ptr(),
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
                    let most = if both { rounding.most() } else { 127.0 };
                    let step = f64::from(largest / most) * f64::from(scales[output]);
                    let bound = 0.5001 * step * sum + 1e-6 * (exact.abs() + 1.0);
                    let error = (f64::from(found) - exact).abs();
                    assert!(
                        error <= bound,
                        "{}, {rounding:?}, depth {depth}, token {token}, output {output}: {error} of {bound}",
                        tile.name
                    );
                }
            }
        }
    }
}
