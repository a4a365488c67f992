//! The same sentences through candle, tract and ONNX Runtime.

use std::path::Path;

use atb_runtime::{Inputs, Outputs, TextModel};
use atb_superplm::SuperPlm;
use atb_text::PARITY_SENTENCES;
use serde::{Deserialize, Serialize};

use crate::{Bundle, ExportError, OnnxRuntime, TOLERANCE};

/// Largest absolute differences between the outputs of two engines, over every value of
/// both outputs on every sentence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// candle on the model folder against tract on the bundle.
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
        // A difference that is no number is the largest of all.
        [Some(self.candle_tract), self.candle_ort, self.tract_ort]
            .into_iter()
            .flatten()
            .fold(0.0, |largest, value| if value <= largest { largest } else { value })
    }

    /// Whether all engines that were compared agree to [`TOLERANCE`].
    #[must_use]
    pub fn holds(&self) -> bool {
        self.largest() <= TOLERANCE
    }
}

/// Runs `bundle` and the model folder it was exported from on the parity sentences.
/// Without `onnx_runtime` only candle and tract are compared.
///
/// # Errors
/// [`ExportError`] if one of them cannot be loaded or run, or they are not the same model.
pub fn verify(
    bundle: &Bundle,
    model: &Path,
    onnx_runtime: Option<&OnnxRuntime>,
) -> Result<Parity, ExportError> {
    let plm = SuperPlm::load(model)?;
    let arch = plm.architecture();
    if *arch != bundle.report().architecture {
        return Err(ExportError::OtherModel {
            bundle: bundle.folder().to_owned(),
            bundle_arch: bundle.report().architecture.id(),
            model: model.to_owned(),
            model_arch: arch.id(),
        });
    }
    let sentences: Vec<&str> =
        PARITY_SENTENCES.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut tract = TextModel::open(bundle.folder())?;
    let (inputs, in_tract): (Vec<Inputs>, Vec<Outputs>) =
        tract.run(&sentences)?.into_iter().unzip();
    let (batch, sequence) = (tract.session().batch(), tract.session().sequence());
    let in_candle = in_candle(&plm, batch, sequence, &inputs)?;
    let candle_tract = largest_difference(&in_candle, &in_tract);
    let in_ort = onnx_runtime
        .map(|ort| ort.run(&bundle.model_file(), batch, sequence, &inputs))
        .transpose()?;
    Ok(Parity {
        candle_tract,
        candle_ort: in_ort.as_ref().map(|in_ort| largest_difference(&in_candle, in_ort)),
        tract_ort: in_ort.as_ref().map(|in_ort| largest_difference(&in_tract, in_ort)),
        sentences: sentences.len(),
    })
}

fn in_candle(
    plm: &SuperPlm,
    batch: usize,
    sequence: usize,
    inputs: &[Inputs],
) -> Result<Vec<Outputs>, ExportError> {
    inputs
        .iter()
        .map(|inputs| {
            let encoded = atb_text::Encoded {
                batch,
                sequence,
                input_ids: inputs.input_ids.clone(),
                attention_mask: inputs.attention_mask.clone(),
                token_type_ids: inputs.token_type_ids.clone(),
            };
            let output = plm.forward(plm.architecture(), &encoded)?;
            let (last_hidden_state, pooler_output) = output.values()?;
            Ok(Outputs { last_hidden_state, pooler_output })
        })
        .collect()
}

/// NaN where one side has a NaN or the shapes differ: such outputs are never the same.
fn largest_difference(one: &[Outputs], other: &[Outputs]) -> f32 {
    let values = |outputs: &Outputs| -> Vec<f32> {
        outputs
            .last_hidden_state
            .iter()
            .chain(outputs.pooler_output.iter().flatten())
            .copied()
            .collect()
    };
    let mut largest = 0.0f32;
    for (one, other) in one.iter().zip(other) {
        let (one, other) = (values(one), values(other));
        if one.len() != other.len() {
            return f32::NAN;
        }
        for (a, b) in one.iter().zip(&other) {
            let difference = (a - b).abs();
            if difference.is_nan() {
                return f32::NAN;
            }
            largest = largest.max(difference);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_and_nan_is_never_equal() {
        let outputs = |values: &[f32]| {
            vec![Outputs { last_hidden_state: values.to_vec(), pooler_output: None }]
        };
        assert_eq!(largest_difference(&outputs(&[1.0, 2.0]), &outputs(&[1.0, 2.5])), 0.5);
        assert!(largest_difference(&outputs(&[1.0]), &outputs(&[f32::NAN])).is_nan());
        assert!(largest_difference(&outputs(&[1.0]), &outputs(&[1.0, 2.0])).is_nan());
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
