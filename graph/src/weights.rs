//! Where the values of the weights come from.

use crate::tensor::{Layout, TensorSpec};

/// Why a weight tensor could not be filled.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WeightError {
    #[error("tensor `{name}` has shape {found:?}, the architecture needs {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor `{name}` holds {value}, and the largest number of f16 is 65504")]
    #[diagnostic(help("export it as f32 or int8"))]
    Large { name: String, value: f32 },
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
}

/// A source of weights.
pub trait Weights {
    /// Writes the values of the tensor `spec` into `values`, row by row in the graph's
    /// layout; `values` has exactly as many elements as `spec` has.
    ///
    /// # Errors
    /// [`WeightError`] if the source has no such tensor or one of another shape.
    fn fill(&self, spec: &TensorSpec, values: &mut [f32]) -> Result<(), WeightError>;
}

/// Made-up weights for profiling: distinct in every tensor, of a trained model's
/// magnitude (standard deviation 0.02, LayerNorm weights around one).
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights {
    seed: u64,
}

impl RandomWeights {
    /// Weights that depend on `seed` and on each tensor's name only.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Weights for RandomWeights {
    fn fill(&self, spec: &TensorSpec, values: &mut [f32]) -> Result<(), WeightError> {
        // FNV-1a of the name, then a SplitMix64 stream: speed matters on a small board,
        // statistical quality does not.
        let mut state = spec.name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ self.seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let centre = if spec.name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
        // A uniform distribution of this half-width has the standard deviation 0.02.
        let half_width = 0.02 * 3f32.sqrt();
        for value in values {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = state;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let unit = ((bits ^ (bits >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
            *value = centre + half_width * unit;
        }
        Ok(())
    }
}

/// Weights of a checkpoint, read by a closure from Hugging Face name to shape and values.
pub struct HfWeights<F> {
    read: F,
}

impl<F, E> HfWeights<F>
where
    F: Fn(&str) -> Result<(Vec<usize>, Vec<f32>), E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A source that asks `read` for each tensor as the checkpoint has it.
    pub fn new(read: F) -> Self {
        Self { read }
    }
}

impl<F, E> Weights for HfWeights<F>
where
    F: Fn(&str) -> Result<(Vec<usize>, Vec<f32>), E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn fill(&self, spec: &TensorSpec, values: &mut [f32]) -> Result<(), WeightError> {
        let (shape, source) =
            (self.read)(&spec.name).map_err(|error| WeightError::Source(error.into()))?;
        let mut expected = spec.shape.clone();
        if spec.layout == Layout::Transposed {
            expected.reverse();
        }
        let fits = match spec.layout {
            Layout::Transposed => shape == expected,
            Layout::Leading => {
                shape.len() == expected.len()
                    && shape[1..] == expected[1..]
                    && (shape[0] == expected[0] || (shape.len() > 1 && shape[0] > expected[0]))
            }
        };
        if !fits || source.len() != shape.iter().product::<usize>() {
            return Err(WeightError::Shape { name: spec.name.clone(), found: shape, expected });
        }
        match spec.layout {
            Layout::Leading => values.copy_from_slice(&source[..values.len()]),
            Layout::Transposed => {
                let (inputs, outputs) = (spec.shape[0], spec.shape[1]);
                for (input, row) in values.chunks_exact_mut(outputs).enumerate() {
                    for (output, value) in row.iter_mut().enumerate() {
                        *value = source[output * inputs + input];
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, shape: &[usize], layout: Layout) -> TensorSpec {
        TensorSpec { name: name.to_owned(), shape: shape.to_vec(), layout }
    }

    #[test]
    fn random_weights_are_distinct_and_of_the_stated_spread() {
        let fill = |name| {
            let mut values = vec![0.0; 40_000];
            let spec = spec(name, &[200, 200], Layout::Transposed);
            RandomWeights::new(1).fill(&spec, &mut values).expect("always fills");
            values
        };
        let (a, b) = (fill("encoder.layer.0.x.weight"), fill("encoder.layer.1.x.weight"));
        assert_ne!(a, b);
        let mean = a.iter().sum::<f32>() / a.len() as f32;
        let deviation = (a.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / a.len() as f32).sqrt();
        assert!(mean.abs() < 5e-4, "mean {mean}");
        assert!((deviation - 0.02).abs() < 2e-4, "standard deviation {deviation}");
    }

    #[test]
    fn checkpoint_tensors_are_transposed_and_cut() {
        let source = HfWeights::new(|_: &str| {
            Ok::<_, WeightError>((vec![3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        });
        let mut values = [0.0; 6];
        source.fill(&spec("w", &[2, 3], Layout::Transposed), &mut values).expect("fits");
        assert_eq!(values, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let mut values = [0.0; 4];
        source.fill(&spec("positions", &[2, 2], Layout::Leading), &mut values).expect("fits");
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
        let error = source
            .fill(&spec("w", &[3, 4], Layout::Transposed), &mut [0.0; 12])
            .expect_err("misshapen");
        assert_eq!(error.to_string(), "tensor `w` has shape [3, 2], the architecture needs [4, 3]");
    }
}
