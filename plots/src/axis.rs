//! Axes with their ends and numbers, as the drawing library takes them.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::Scale;
use crate::numbers::{logarithmic_ticks, number, ticks};

/// An axis that reaches from `low` to `high`.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    scale: Scale,
    pub(crate) low: f64,
    pub(crate) high: f64,
    ticks: Vec<f64>,
    step: f64,
}

impl Laid {
    /// An axis with room for `values` and about `count` numbers.
    pub(crate) fn out(scale: Scale, values: impl Iterator<Item = f64>, count: usize) -> Self {
        let usable =
            |value: &f64| value.is_finite() && (scale != Scale::Logarithmic || *value > 0.0);
        let (mut low, mut high) =
            values.filter(usable).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            (low, high) = (1.0, 2.0);
        }
        // Equal values have room around them as well.
        let least = |high: f64| (1e-3 * high.abs()).max(1e-12);
        match scale {
            Scale::Linear => {
                let margin = (0.06 * (high - low)).max(least(high));
                let (low, high) = (low - margin, high + margin);
                let (ticks, step) = ticks(low, high, count);
                Self { scale, low, high, ticks, step }
            }
            Scale::FromZero => {
                let low = low.min(0.0);
                let high = high + (0.05 * (high - low)).max(least(high));
                let (ticks, step) = ticks(low, high, count);
                Self { scale, low, high, ticks, step }
            }
            Scale::Logarithmic => {
                let margin = (high / low).powf(0.06).max(1.05);
                let (low, high) = (low / margin, high * margin);
                Self { scale, low, high, ticks: logarithmic_ticks(low, high, count), step: 0.0 }
            }
        }
    }

    /// Where `value` is, from 0 at the lower end to 1 at the upper one.
    fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear | Scale::FromZero => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => {
                (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
            }
        }
    }
}

impl Ranged for Laid {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.share(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Laid {
    fn format_ext(&self, value: &f64) -> String {
        match self.scale {
            Scale::Linear | Scale::FromZero => number(*value, self.step),
            Scale::Logarithmic => number(*value, 10_f64.powf(value.log10().floor())),
        }
    }
}
