//! The paper's predictor: a multi-layer perceptron on four features.

use atb_predictor::{FitError, Model, Observation, Rows, one_workload};
use atb_space::{Architecture, Layer, Workload};
use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Name in messages.
const KIND: &str = "perceptron";

/// What the features are divided by: hidden size, layers, mean intermediate size, mean
/// q|k|v size (the paper's implementation).
const NORMS: [f32; 4] = [768.0, 12.0, 3072.0, 768.0];
/// Hidden layers beyond the first (the paper's implementation).
const HIDDEN_LAYERS: usize = 3;

/// Size and training of the perceptron.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MlpSettings {
    /// Width of the hidden layers.
    pub width: usize,
    /// Steps of the optimizer Adam.
    pub steps: usize,
    /// Observations a step, or all if there are fewer.
    pub batch: usize,
    /// Learning rate.
    pub learning_rate: f32,
    /// Seed of the weights and batches.
    pub seed: u64,
}

impl Default for MlpSettings {
    fn default() -> Self {
        Self::PAPER
    }
}

impl MlpSettings {
    /// The paper's implementation. Takes minutes to fit.
    pub const PAPER: Self =
        Self { width: 2000, steps: 5000, batch: 128, learning_rate: 1e-5, seed: 0 };

    /// A small one that is fitted within a second.
    pub const SMALL: Self = Self { width: 32, steps: 1000, learning_rate: 3e-3, ..Self::PAPER };
}

/// One layer's weights (inputs by outputs) and biases.
#[derive(Clone, Debug, PartialEq)]
struct Dense {
    weights: Array2<f32>,
    biases: Array1<f32>,
}

/// The multi-layer perceptron of the paper: four features (hidden size, layers, mean
/// intermediate size, mean q|k|v size), ReLU, mean squared error. Knows one batch and
/// sequence length.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// What the values are divided by.
    norm: f32,
    layers: Vec<Dense>,
}

fn features(arch: &Architecture) -> [f32; 4] {
    let layers = arch.layers();
    let mean = |size: fn(&Layer) -> usize| {
        layers.iter().map(|layer| size(layer) as f32).sum::<f32>() / layers.len() as f32
    };
    let raw = [
        arch.hidden() as f32,
        layers.len() as f32,
        mean(|layer| layer.intermediate),
        mean(|layer| layer.qkv),
    ];
    std::array::from_fn(|i| raw[i] / NORMS[i])
}

impl Mlp {
    /// Trains the perceptron.
    ///
    /// # Errors
    /// [`FitError::MixedWorkloads`] if the observations differ in batch or sequence length.
    pub fn fit(observations: &[Observation], settings: &MlpSettings) -> Result<Self, FitError> {
        one_workload(KIND, observations)?;
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let norm =
            observations.iter().map(|item| item.value as f32).fold(f32::MIN_POSITIVE, f32::max);
        let inputs: Vec<[f32; 4]> = observations.iter().map(|item| features(&item.arch)).collect();
        let inputs = Array2::from(inputs);
        let targets: Array1<f32> =
            observations.iter().map(|item| item.value as f32 / norm).collect();
        let mut widths = vec![NORMS.len()];
        widths.extend([settings.width; HIDDEN_LAYERS + 1]);
        widths.push(1);
        let mut model = Self {
            norm,
            layers: widths.windows(2).map(|w| Dense::random(w[0], w[1], &mut rng)).collect(),
        };
        let mut adam: Vec<Adam> = model.layers.iter().map(Adam::new).collect();
        let batch = settings.batch.min(targets.len());
        let mut order: Vec<usize> = (0..targets.len()).collect();
        for step in 1..=settings.steps {
            let (chosen, _) = order.partial_shuffle(&mut rng, batch);
            let (x, y) = (inputs.select(Axis(0), chosen), targets.select(Axis(0), chosen));
            let rate = settings.learning_rate;
            model.step(&x, &y, |index, layer, gradient| {
                adam[index].update(layer, gradient, rate, step as i32);
            });
        }
        Ok(model)
    }

    /// One pass forward and backward; `update` gets each layer with its gradient, last
    /// layer first.
    fn step(
        &mut self,
        inputs: &Array2<f32>,
        targets: &Array1<f32>,
        mut update: impl FnMut(usize, &mut Dense, &Dense),
    ) {
        let mut activations = vec![inputs.clone()];
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            let output = layer.forward(activations[index].view(), !last);
            activations.push(output);
        }
        let output = &activations[self.layers.len()];
        let scale = 2.0 / targets.len() as f32;
        let mut delta = Array2::from_shape_fn(output.dim(), |(row, _)| {
            scale * (output[(row, 0)] - targets[row])
        });
        for index in (0..self.layers.len()).rev() {
            let gradient = Dense {
                weights: activations[index].t().dot(&delta),
                biases: delta.sum_axis(Axis(0)),
            };
            if index > 0 {
                let mut before = delta.dot(&self.layers[index].weights.t());
                Zip::from(&mut before).and(&activations[index]).for_each(|value, activation| {
                    if *activation <= 0.0 {
                        *value = 0.0;
                    }
                });
                delta = before;
            }
            update(index, &mut self.layers[index], &gradient);
        }
    }

    fn predict(&self, features: &[[f32; 4]]) -> Vec<f64> {
        let mut values = Array2::from(features.to_vec());
        for (index, layer) in self.layers.iter().enumerate() {
            values = layer.forward(values.view(), index + 1 < self.layers.len());
        }
        values.iter().map(|value| f64::from(value * self.norm)).collect()
    }
}

impl Dense {
    /// Uniform within one over the square root of the inputs, as PyTorch begins.
    fn random(inputs: usize, outputs: usize, rng: &mut ChaCha8Rng) -> Self {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut value = || rng.random_range(-bound..bound);
        Self {
            weights: Array2::from_shape_simple_fn((inputs, outputs), &mut value),
            biases: Array1::from_shape_simple_fn(outputs, &mut value),
        }
    }

    fn forward(&self, inputs: ArrayView2<'_, f32>, relu: bool) -> Array2<f32> {
        let mut output = inputs.dot(&self.weights);
        output += &self.biases;
        if relu {
            output.mapv_inplace(|value| value.max(0.0));
        }
        output
    }
}

/// The moments of the optimizer Adam for one layer.
struct Adam {
    first: Dense,
    second: Dense,
}

impl Adam {
    fn new(layer: &Dense) -> Self {
        let zeros = || Dense {
            weights: Array2::zeros(layer.weights.dim()),
            biases: Array1::zeros(layer.biases.dim()),
        };
        Self { first: zeros(), second: zeros() }
    }

    fn update(&mut self, layer: &mut Dense, gradient: &Dense, rate: f32, step: i32) {
        let (decay_first, decay_second, epsilon) = (0.9_f32, 0.999_f32, 1e-8);
        let correction = (1.0 - decay_second.powi(step)).sqrt();
        let rate = rate * correction / (1.0 - decay_first.powi(step));
        let epsilon = epsilon * correction;
        let one = |value: &mut f32, first: &mut f32, second: &mut f32, gradient: &f32| {
            *first += (1.0 - decay_first) * (gradient - *first);
            *second += (1.0 - decay_second) * (gradient * gradient - *second);
            *value -= rate * *first / (second.sqrt() + epsilon);
        };
        Zip::from(&mut layer.weights)
            .and(&mut self.first.weights)
            .and(&mut self.second.weights)
            .and(&gradient.weights)
            .for_each(one);
        Zip::from(&mut layer.biases)
            .and(&mut self.first.biases)
            .and(&mut self.second.biases)
            .and(&gradient.biases)
            .for_each(one);
    }
}

impl Model for Mlp {
    fn value(&self, arch: &Architecture, _workload: Workload) -> f64 {
        self.predict(&[features(arch)]).first().copied().unwrap_or(f64::NAN)
    }

    fn scan(&self, rows: &Rows<'_>, visit: &mut dyn FnMut(usize, usize, &[f64])) {
        for (attention_index, &(heads, qkv)) in rows.attention.iter().enumerate() {
            for (layers_index, &layers) in rows.layers.iter().enumerate() {
                let batch: Vec<[f32; 4]> = rows
                    .intermediates
                    .iter()
                    .map(|&intermediate| {
                        let layer = Layer { intermediate, heads, qkv };
                        Architecture::uniform(layers, rows.hidden, layer)
                            .map_or([f32::NAN; 4], |arch| features(&arch))
                    })
                    .collect();
                visit(layers_index, attention_index, &self.predict(&batch));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_finite_differences() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let widths = [4, 5, 5, 1];
        let mut model = Mlp {
            norm: 1.0,
            layers: widths.windows(2).map(|w| Dense::random(w[0], w[1], &mut rng)).collect(),
        };
        let inputs = Array2::from_shape_simple_fn((6, 4), || rng.random_range(0.0..1.0_f32));
        let targets = Array1::from_shape_simple_fn(6, || rng.random_range(0.0..1.0_f32));
        let loss = |model: &Mlp| -> f64 {
            let rows: Vec<[f32; 4]> =
                inputs.rows().into_iter().map(|row| std::array::from_fn(|i| row[i])).collect();
            let errors = model
                .predict(&rows)
                .into_iter()
                .zip(&targets)
                .map(|(p, t)| (p - f64::from(*t)).powi(2));
            errors.sum::<f64>() / 6.0
        };
        let mut gradients = Vec::new();
        let before = model.clone();
        model.step(&inputs, &targets, |index, _, gradient| {
            gradients.push((index, gradient.clone()))
        });
        for (index, gradient) in gradients {
            for place in [(0, 0), (widths[index] - 1, widths[index + 1] - 1)] {
                let shifted = |by: f32| {
                    let mut other = before.clone();
                    other.layers[index].weights[place] += by;
                    loss(&other)
                };
                let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
                let analytic = f64::from(gradient.weights[place]);
                assert!((slope - analytic).abs() < 1e-3, "{index}: {slope} and {analytic}");
            }
        }
    }
}
