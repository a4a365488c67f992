//! How far the outputs of several engines are apart.

use atb_interface::{Outputs, larger};
use atb_space::Precision;
use serde::{Deserialize, Serialize};

/// Differences between the outputs of two engines, the largest over every output on every
/// sentence: of any value of a file in f32, absolute; of a whole output of another file,
/// its length relative to the output's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// What the file's weights are.
    #[serde(default)]
    pub precision: Precision,
    /// candle, the reference, on the model folder against tract on the bundle.
    pub candle_tract: f32,
    /// candle against ONNX Runtime; absent if there was no ONNX Runtime.
    pub candle_ort: Option<f32>,
    /// tract against ONNX Runtime; absent if there was no ONNX Runtime.
    pub tract_ort: Option<f32>,
    /// Sentences compared.
    pub sentences: usize,
}

impl Parity {
    /// The largest of the differences.
    #[must_use]
    pub fn largest(&self) -> f32 {
        [Some(self.candle_tract), self.candle_ort, self.tract_ort]
            .into_iter()
            .flatten()
            .fold(0.0, larger)
    }

    /// What the numbers are, in words.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self.precision {
            Precision::F32 => "largest difference",
            Precision::F16 | Precision::Int8 => "relative difference",
        }
    }

    /// How far candle and tract may be apart and still give the same.
    #[must_use]
    pub fn tolerance(&self) -> f32 {
        match self.precision {
            Precision::F32 => 1e-4,
            Precision::F16 => 0.01,
            Precision::Int8 => 0.1,
        }
    }

    /// How far other engines may be apart from them. In a file of integers they round activations
    /// as well, those of all tokens together, which costs more than rounding the weights does.
    #[must_use]
    pub fn tolerance_of_others(&self) -> f32 {
        match self.precision {
            Precision::F32 | Precision::F16 => self.tolerance(),
            Precision::Int8 => 0.35,
        }
    }

    /// The largest difference that is beyond its tolerance, and that tolerance.
    #[must_use]
    pub fn beyond(&self) -> Option<(f32, f32)> {
        let (ours, others) = (self.tolerance(), self.tolerance_of_others());
        [(Some(self.candle_tract), ours), (self.candle_ort, others), (self.tract_ort, others)]
            .into_iter()
            .filter_map(|(difference, tolerance)| Some((difference?, tolerance)))
            .filter(|(difference, tolerance)| difference.is_nan() || difference > tolerance)
            .reduce(|one, other| if larger(one.0, other.0) == one.0 { one } else { other })
    }

    /// Whether all engines that were compared agree.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.beyond().is_none()
    }
}

/// How far outputs are apart, as a [`Parity`] of this precision says it.
pub(crate) fn difference(precision: Precision, one: &Outputs, other: &Outputs) -> f32 {
    match precision {
        Precision::F32 => one.largest_difference(other),
        Precision::F16 | Precision::Int8 => one.relative_difference(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_no_number_never_holds() {
        assert!(larger(f32::NAN, 1.0).is_nan() && larger(1.0, f32::NAN).is_nan());
        assert_eq!((larger(1.0, 2.0), larger(2.0, 1.0)), (2.0, 2.0));
        let parity = Parity {
            precision: Precision::F32,
            candle_tract: 1e-6,
            candle_ort: Some(f32::NAN),
            tract_ort: None,
            sentences: 1,
        };
        assert!(!parity.holds());
        assert!(Parity { candle_ort: Some(5e-5), ..parity }.holds());
        let apart = Parity { candle_ort: Some(2e-4), ..parity };
        assert!(!apart.holds());
        assert_eq!(apart.beyond(), Some((2e-4, 1e-4)));
        let integers = Parity { precision: Precision::Int8, ..apart };
        assert!(integers.holds());
        assert!(Parity { tract_ort: Some(0.3), ..integers }.holds());
        let apart = Parity { candle_tract: 0.2, tract_ort: Some(0.4), ..integers };
        assert_eq!(apart.beyond(), Some((0.4, 0.35)));
    }
}
