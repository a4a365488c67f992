//! How far the outputs of several engines are apart.

use serde::{Deserialize, Serialize};

use crate::TOLERANCE;

/// Largest absolute differences between the outputs of two engines, over every value of
/// every output on every sentence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parity {
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

    /// Whether all engines that were compared agree to [`TOLERANCE`].
    #[must_use]
    pub fn holds(&self) -> bool {
        self.largest() <= TOLERANCE
    }
}

/// The larger of two differences; one that is no number is the largest of all.
pub(crate) fn larger(one: f32, other: f32) -> f32 {
    if one.is_nan() || other <= one { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_no_number_never_holds() {
        assert!(larger(f32::NAN, 1.0).is_nan() && larger(1.0, f32::NAN).is_nan());
        assert_eq!((larger(1.0, 2.0), larger(2.0, 1.0)), (2.0, 2.0));
        let parity = Parity {
            candle_tract: 1e-6,
            candle_ort: Some(f32::NAN),
            tract_ort: None,
            sentences: 1,
        };
        assert!(!parity.holds());
        assert!(Parity { candle_ort: Some(5e-5), ..parity }.holds());
        assert!(!Parity { candle_ort: Some(2e-4), ..parity }.holds());
    }
}
