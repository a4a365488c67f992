//! An inclusive range of sizes on a grid.

use serde::{Deserialize, Serialize};

/// `min, min + step, ...` up to and including `max`.
///
/// In TOML a table (`{ min = 128, max = 768, step = 4 }`, `step` defaulting to 1) or,
/// for a single value, a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RangeForm", into = "RangeForm")]
pub struct Range {
    /// Smallest value.
    pub min: usize,
    /// Upper bound; a value of the range only if it lies on the grid.
    pub max: usize,
    /// Distance between neighbours.
    pub step: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or { min = .., max = .., step = .. }")]
enum RangeForm {
    One(usize),
    Grid(RangeGrid),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeGrid {
    min: usize,
    max: usize,
    #[serde(default = "one")]
    step: usize,
}

fn one() -> usize {
    1
}

impl From<RangeForm> for Range {
    fn from(form: RangeForm) -> Self {
        match form {
            RangeForm::One(value) => Range::one(value),
            RangeForm::Grid(grid) => Range { min: grid.min, max: grid.max, step: grid.step },
        }
    }
}

impl From<Range> for RangeForm {
    fn from(range: Range) -> Self {
        if range.min == range.max {
            RangeForm::One(range.min)
        } else {
            RangeForm::Grid(RangeGrid { min: range.min, max: range.max, step: range.step })
        }
    }
}

impl Range {
    /// The grid from `min` to `max` in steps of `step`.
    #[must_use]
    pub const fn new(min: usize, max: usize, step: usize) -> Self {
        Self { min, max, step }
    }

    /// The single value `value`.
    #[must_use]
    pub const fn one(value: usize) -> Self {
        Self { min: value, max: value, step: 1 }
    }

    /// Number of values; 0 when `max < min`.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.max < self.min { 0 } else { (self.max - self.min) / self.step.max(1) + 1 }
    }

    /// Whether the range holds no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `index`-th value, counted from 0.
    #[must_use]
    pub fn value(&self, index: usize) -> usize {
        self.min + index * self.step
    }

    /// Whether `value` is on the grid.
    #[must_use]
    pub fn contains(&self, value: usize) -> bool {
        (self.min..=self.max).contains(&value)
            && (value - self.min).is_multiple_of(self.step.max(1))
    }

    /// The largest value on the grid; `None` if the range is empty.
    #[must_use]
    pub fn last(&self) -> Option<usize> {
        self.len().checked_sub(1).map(|index| self.value(index))
    }

    /// The value of the grid that lies nearest to `value`; `None` if the range is empty.
    #[must_use]
    pub fn nearest(&self, value: usize) -> Option<usize> {
        let last = self.last()?;
        let above = value.clamp(self.min, last) - self.min;
        Some(self.value((above + self.step / 2) / self.step.max(1)).min(last))
    }

    /// All values, ascending.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = usize> + Clone + use<> {
        let Range { min, step, .. } = *self;
        (0..self.len()).map(move |index| min + index * step)
    }

    /// The part of the range that is at most `limit`.
    #[must_use]
    pub fn at_most(&self, limit: usize) -> Self {
        Self { max: self.max.min(limit), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_ends_on_its_last_multiple() {
        let range = Range::new(180, 770, 12);
        assert_eq!(range.last(), Some(768));
        assert_eq!(range.len(), 50);
        assert_eq!(range.values().count(), 50);
        assert!(range.contains(192) && !range.contains(190) && !range.contains(780));
        assert_eq!(range.nearest(187), Some(192));
        assert_eq!(range.nearest(10_000), Some(768));
        assert_eq!(range.nearest(1), Some(180));
        assert!(Range::new(10, 5, 1).is_empty());
    }
}
