//! Dropout. Whether a value is dropped follows from a key and its place alone, so that the mask
//! is computed again where it is needed instead of kept, and is the same on every device.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::engine::{Engine, Form};
use super::loops::TASK;
use super::operands::{shaped, values, with_values};
use crate::vectorised::vectorised;

/// Which values are dropped, and what the others are multiplied by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    /// Of 2^32 values so many are dropped.
    threshold: u32,
    /// What the values that are kept are multiplied by, so that their mean stays.
    scale: f32,
    key: u64,
    /// Rows of the batch that are before those here, and the number of those here.
    before: usize,
    rows: usize,
}

impl Dropout {
    /// Nothing is dropped.
    pub(crate) const NONE: Self = Self { threshold: 0, scale: 1.0, key: 0, before: 0, rows: 1 };

    /// A share `rate`, from 0 to below 1, of the values is dropped; which, depends on the key.
    pub(crate) fn new(rate: f64, key: u64) -> Self {
        let threshold = (rate * 2.0_f64.powi(32)) as u32;
        let scale = (1.0 / (1.0 - rate)) as f32;
        Self { threshold, scale, key: mixed(key), ..Self::NONE }
    }

    /// The same for a part of a batch only: these of its rows. Of every place the same values are
    /// dropped as if all rows were here.
    pub(crate) fn of_rows(self, rows: Range<usize>) -> Self {
        Self { before: rows.start, rows: rows.len(), ..self }
    }

    /// The number of a row in the whole batch.
    pub(super) fn row(&self, here: usize) -> usize {
        self.before + here
    }

    /// Values of a place, of which so many are here, that belong to rows before.
    fn values_before(&self, here: usize) -> usize {
        here / self.rows.max(1) * self.before
    }

    /// The same share in another place of the network, each of which has a number.
    pub(crate) fn at(self, place: u64) -> Self {
        Self { key: mixed(self.key ^ mixed(place)), ..self }
    }

    /// Whether nothing is dropped.
    pub(crate) fn is_none(&self) -> bool {
        self.threshold == 0
    }

    /// Drops some of `values`, the first of which is the `first`-th of its place.
    pub(super) fn apply(&self, values: &mut [f32], first: usize) {
        if !self.is_none() {
            drop_some(values, first as u32, self.keys(), self.threshold, self.scale);
        }
    }

    /// [`Dropout::apply`] to all values of a place, with all threads.
    pub(super) fn apply_to_all(&self, values: &mut [f32]) {
        if !self.is_none() {
            let before = self.values_before(values.len());
            let chunks = values.par_chunks_mut(TASK).enumerate();
            chunks.for_each(|(i, values)| self.apply(values, before + i * TASK));
        }
    }

    /// Drops some of all values of a place and adds `others`, with all threads.
    pub(super) fn apply_and_add(&self, values: &mut [f32], others: &[f32]) {
        let before = self.values_before(values.len());
        let (keys, chunks) =
            (self.keys(), values.par_chunks_mut(TASK).zip(others.par_chunks(TASK)));
        chunks.enumerate().for_each(|(i, (values, others))| {
            let first = (before + i * TASK) as u32;
            drop_some_and_add(values, others, first, keys, self.threshold, self.scale);
        });
    }

    /// The factors of a place's values, for the composite form.
    pub(super) fn mask(&self, like: &Tensor) -> Result<Tensor> {
        let mut factors = vec![1.0; like.elem_count()];
        self.apply_to_all(&mut factors);
        Tensor::from_vec(factors, like.shape(), like.device())
    }

    fn keys(&self) -> [u32; 2] {
        [self.key as u32, (self.key >> 32) as u32]
    }
}

/// The finaliser of splitmix64 (Steele et al., "Fast Splittable Pseudorandom Number
/// Generators").
fn mixed(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// The factor of the value at `index`: by a hash of 32 bits with the multipliers of Wellons'
/// `lowbias32`, keyed before and between them.
#[inline(always)]
fn factor(index: u32, keys: [u32; 2], threshold: u32, scale: f32) -> f32 {
    let mut hash = index.wrapping_add(keys[0]);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x7feb_352d);
    hash = (hash ^ (hash >> 15) ^ keys[1]).wrapping_mul(0x846c_a68b);
    hash ^= hash >> 16;
    if hash < threshold { 0.0 } else { scale }
}

vectorised! {
    fn drop_some(values: &mut [f32], first: u32, keys: [u32; 2], threshold: u32, scale: f32) {
        for (i, value) in values.iter_mut().enumerate() {
            *value *= factor(first.wrapping_add(i as u32), keys, threshold, scale);
        }
    }

    fn drop_some_and_add(
        values: &mut [f32],
        others: &[f32],
        first: u32,
        keys: [u32; 2],
        threshold: u32,
        scale: f32,
    ) {
        for (i, (value, other)) in values.iter_mut().zip(others).enumerate() {
            *value *= factor(first.wrapping_add(i as u32), keys, threshold, scale);
            *value += other;
        }
    }
}

impl Engine {
    /// Drops some values.
    pub(crate) fn dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        match self.form {
            _ if dropout.is_none() => Ok(x.clone()),
            Form::Fused => fused(x, dropout),
            Form::Composite => composite(x, dropout),
        }
    }
}

pub(super) fn composite(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    if dropout.is_none() { Ok(x.clone()) } else { x * dropout.mask(x)? }
}

fn fused(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    x.contiguous()?.apply_op1(DropoutOp(dropout))
}

struct DropoutOp(Dropout);

impl CustomOp1 for DropoutOp {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut output = values(x, layout)?.to_vec();
        self.0.apply_to_all(&mut output);
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut output = with_values(grad, <[f32]>::to_vec)?;
        self.0.apply_to_all(&mut output);
        Ok(Some(shaped(output, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_alike, variable};
    use super::*;

    #[test]
    fn dropout_is_its_composite() {
        let x = variable(31, &[40, 33]);
        let dropout = Dropout::new(0.3, 5);
        assert_alike(&[&x], || fused(&x, dropout), || composite(&x, dropout));
    }

    /// The share of `count` values that are dropped is within five standard deviations of the
    /// rate, and the mean is kept.
    #[test]
    fn the_share_that_is_dropped_is_the_rate() {
        for rate in [0.1, 0.5] {
            let count = 200_000;
            let deviation = (rate * (1.0 - rate) / f64::from(count)).sqrt();
            for place in 0..20 {
                let mut values = vec![1.0; count as usize];
                Dropout::new(rate, 3).at(place).apply_to_all(&mut values);
                let dropped = values.iter().filter(|value| **value == 0.0).count();
                let share = dropped as f64 / f64::from(count);
                assert!((share - rate).abs() < 5.0 * deviation, "{share} for {rate}");
                let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / f64::from(count);
                assert!((mean - 1.0).abs() < 5.0 * deviation / (1.0 - rate), "{mean}");
            }
        }
        let mut values = vec![1.0; 9];
        Dropout::NONE.apply_and_add(&mut values, &[1.0; 9]);
        assert_eq!(values, [2.0; 9]);
    }

    /// Two keys, two places and neighbours agree as often as independent ones do.
    #[test]
    fn keys_places_and_neighbours_are_independent() {
        let count = 200_000;
        let dropped = |dropout: Dropout, first: usize| {
            let mut values = vec![1.0; count];
            dropout.apply(&mut values, first);
            values.into_iter().map(|value| value == 0.0).collect::<Vec<_>>()
        };
        let base = Dropout::new(0.5, 1);
        let of_base = dropped(base, 0);
        for other in [
            dropped(Dropout::new(0.5, 2), 0),
            dropped(base.at(1), 0),
            dropped(base, 1),
            dropped(base, 64),
        ] {
            let agreeing = of_base.iter().zip(&other).filter(|(a, b)| a == b).count();
            let share = agreeing as f64 / count as f64;
            assert!((share - 0.5).abs() < 5.0 * 0.5 / (count as f64).sqrt(), "{share}");
        }
        // Of the last rows as of all.
        let mut part = vec![1.0; 40];
        base.of_rows(3..8).apply_to_all(&mut part);
        let part: Vec<bool> = part.into_iter().map(|value| value == 0.0).collect();
        assert_eq!(part, of_base[24..64]);
        // In blocks as at once.
        let blocks = [dropped(base, 0)[..7].to_vec(), dropped(base, 7)].concat();
        assert_eq!(blocks[..count], of_base);
    }
}
