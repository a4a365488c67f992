//! The whole parameters of a model in training.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use atb_space::Architecture;
use candle_core::{Tensor, Var};
use rayon::prelude::*;

use super::adamw::{AdamW, Moments, Update};
use crate::ops::{Gradient, Scratch, Share};
use crate::parameters::{self, Axis, MlmHead, Parameters, WORD_EMBEDDINGS};
use crate::{PlmError, SuperPlm};

/// A whole parameter, its gradient and its optimizer's state.
pub(super) struct Variable {
    var: Var,
    axes: Vec<Axis>,
    gradient: Arc<Gradient>,
    pub(super) moments: Moments,
    /// Whether weight decay applies: not to biases and LayerNorm.
    decays: bool,
}

impl Variable {
    /// Values a row.
    fn width(&self) -> usize {
        self.var.dims().last().copied().unwrap_or(1)
    }
}

/// The parameters of a [`SuperPlm`] as variables. The model shares their memory, so it
/// always is what the training has come to.
pub(super) struct Variables {
    whole: Architecture,
    variables: BTreeMap<String, Variable>,
    scratch: Scratch,
}

impl Variables {
    pub(super) fn of(plm: &mut SuperPlm) -> Result<Self, PlmError> {
        let whole = plm.architecture().clone();
        let mut variables = BTreeMap::new();
        for (name, stored) in plm.stored_mut() {
            let var = Var::from_tensor(&stored.tensor)?;
            stored.tensor = var.as_detached_tensor();
            let length = var.elem_count();
            let variable = Variable {
                var,
                axes: stored.axes.clone(),
                gradient: Arc::new(Gradient::new(length)),
                moments: Moments::new(length),
                decays: !name.ends_with("bias") && !name.contains("LayerNorm"),
            };
            variables.insert(name.clone(), variable);
        }
        Ok(Self { whole, variables, scratch: Scratch::default() })
    }

    /// What an architecture uses of the encoder; without the pooler, which no objective
    /// trains.
    pub(super) fn encoder(&self, arch: &Architecture) -> Result<Parameters<Share>, PlmError> {
        parameters::check_fit(&self.whole, arch)?;
        Parameters::collect(arch.num_layers(), false, |name, axes| Ok(self.share(name, axes, arch)))
    }

    /// What an architecture uses of the MLM head, and the decoder's weights.
    pub(super) fn mlm_head(&self, arch: &Architecture) -> Result<(MlmHead, Tensor), PlmError> {
        let tensor = |name: &str, axes: &[Axis]| self.share(name, axes, arch).tensor();
        let decoder = tensor(WORD_EMBEDDINGS, &[Axis::Vocabulary, Axis::Hidden])?;
        Ok((MlmHead::collect(tensor)?, decoder))
    }

    /// A parameter's share, of any axes that it was stored with.
    pub(super) fn stored_share(&self, name: &str, arch: &Architecture) -> Result<Tensor, PlmError> {
        Ok(self.share(name, &self.variables[name].axes, arch).tensor()?)
    }

    /// The buffers of a step, used again in the next.
    pub(super) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    fn share(&self, name: &str, axes: &[Axis], arch: &Architecture) -> Share {
        let Variable { var, gradient, .. } = &self.variables[name];
        parameters::share(var, axes, &self.whole, arch, Some(gradient.clone()))
    }

    /// The norm of all gradients together.
    pub(super) fn gradient_norm(&self) -> f64 {
        let squares: Vec<f64> = self
            .variables
            .par_iter()
            .map(|(_, variable)| variable.gradient.lock().squared_norm(variable.width()))
            .collect();
        // In the order of the names, whichever thread was first.
        squares.into_iter().sum::<f64>().sqrt()
    }

    /// One step of AdamW, after which all gradients are zero.
    pub(super) fn update(&mut self, update: Update) -> candle_core::Result<()> {
        self.variables.par_iter_mut().try_for_each(|(_, variable)| {
            let update = if variable.decays { update } else { update.without_decay() };
            let mut sum = variable.gradient.lock();
            let width = variable.width();
            let state = Mutex::new((&mut *sum, &mut variable.moments));
            variable.var.inplace_op1(&AdamW { update, width, state })
        })
    }

    /// Every variable's name, shape and optimizer state.
    pub(super) fn moments(&self) -> impl Iterator<Item = (&String, &[usize], &Moments)> {
        self.variables.iter().map(|(name, v)| (name, v.var.dims(), &v.moments))
    }

    /// The same, to be replaced.
    pub(super) fn moments_mut(&mut self) -> impl Iterator<Item = (&String, &mut Moments)> {
        self.variables.iter_mut().map(|(name, v)| (name, &mut v.moments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bert::{self, Batch};
    use crate::ops::Touched;
    use atb_text::{Encoded, Tokenizer};

    const WHOLE: &str = "2-16-[20,24]-4-[16,24]";

    fn batch() -> Encoded {
        Encoded {
            batch: 2,
            sequence: 5,
            input_ids: vec![101, 2023, 2003, 2023, 102, 101, 7592, 102, 0, 0],
            attention_mask: vec![1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
            token_type_ids: vec![0, 0, 0, 1, 1, 0, 0, 0, 0, 0],
        }
    }

    fn run(parameters: &Parameters<Share>, arch: &Architecture, batch: &Batch) -> crate::Output {
        bert::forward(parameters, arch, 1e-12, batch, &Scratch::default()).expect("runs")
    }

    /// A scalar of hidden states and scores to which every parameter matters.
    fn scalar(output: &crate::Output) -> Tensor {
        let weigh = |tensor: &Tensor| {
            let count = tensor.elem_count();
            let weights: Vec<f32> = (0..count).map(|i| ((i * 7919) % 23) as f32 / 23.0).collect();
            let weights = Tensor::from_vec(weights, tensor.shape(), tensor.device())?;
            (tensor * weights)?.sum_all()
        };
        let hidden = weigh(&output.hidden);
        hidden.and_then(|h| h + weigh(&output.attention_scores)?).expect("a scalar")
    }

    #[test]
    fn the_parts_gradients_are_those_that_candle_finds_for_the_whole() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        for id in [WHOLE, "1-12-7-4-8", "2-16-[20,9]-3-[12,18]", "2-5-24-[1,4]-[2,16]"] {
            let arch: Architecture = id.parse().or_else(|_| WHOLE.parse()).expect("parses");
            if parameters::check_fit(&WHOLE.parse().expect("parses"), &arch).is_err() {
                continue;
            }
            let whole = WHOLE.parse().expect("an architecture");
            let mut plm = SuperPlm::random(whole, tokenizer.clone(), 3).expect("random");
            let variables = Variables::of(&mut plm).expect("variables");
            let batch = Batch::new(&batch()).expect("a batch");

            let encoder = variables.encoder(&arch).expect("fits");
            let output = run(&encoder, &arch, &batch);
            let store = scalar(&output).backward().expect("gradients");
            assert!(variables.variables.values().all(|v| store.get(&v.var).is_none()));

            // The same of candle's own operations over candle's own views of the variables.
            let views = Parameters::collect(arch.num_layers(), false, |name, axes| {
                let var = variables.variables[name].var.as_tensor();
                if name.ends_with("_embeddings.weight") {
                    return Ok(var.clone());
                }
                parameters::slice(var, axes, &variables.whole, &arch)
            });
            let views = views.expect("slices");
            let output = bert::composite(&views, &arch, 1e-12, &batch).expect("runs");
            let store = scalar(&output).backward().expect("gradients");
            for (name, variable) in &variables.variables {
                let sum = variable.gradient.lock();
                let Some(expected) = store.get(&variable.var) else {
                    assert_eq!(sum.touched, Touched::Nothing, "{id}: {name}");
                    continue;
                };
                let expected = expected.flatten_all().and_then(|t| t.to_vec1::<f32>());
                for (found, expected) in sum.values.iter().zip(expected.expect("values")) {
                    let close = (found - expected).abs() < 1e-5 * (1.0 + expected.abs());
                    assert!(close, "{id}: {name}: {found} for {expected}");
                }
            }
            let words = variables.variables[WORD_EMBEDDINGS].gradient.lock();
            assert!(matches!(words.touched, Touched::Rows(_)));
        }
    }

    #[test]
    fn an_update_is_adamws_and_leaves_unused_rows_alone() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let whole: Architecture = "1-4-8-2-4".parse().expect("an architecture");
        let mut plm = SuperPlm::random(whole.clone(), tokenizer, 3).expect("random");
        let mut variables = Variables::of(&mut plm).expect("variables");
        let read = |variables: &Variables, name: &str| -> Vec<f32> {
            variables.variables[name].var.flatten_all().and_then(|t| t.to_vec1()).expect("values")
        };
        let names = [WORD_EMBEDDINGS, "encoder.layer.0.output.dense.bias", "pooler.dense.weight"];
        let before = names.map(|name| read(&variables, name));
        // By the definition, in double precision, for two steps.
        let mut expected: Vec<Vec<f64>> =
            before.iter().map(|v| v.iter().map(|x| f64::from(*x)).collect()).collect();
        let mut moments = expected.iter().map(|v| vec![(0.0, 0.0); v.len()]).collect::<Vec<_>>();
        for step in 0..2 {
            let batch = Batch::new(&batch()).expect("a batch");
            let encoder = variables.encoder(&whole).expect("fits");
            let output = run(&encoder, &whole, &batch);
            scalar(&output).backward().expect("gradients");
            let norm = variables.gradient_norm();
            assert!(norm > 1.0);
            for (k, name) in names.iter().enumerate() {
                let gradient = variables.variables[*name].gradient.lock().values.clone();
                let decay = if k == 0 { 0.1 } else { 0.0 };
                for (i, g) in gradient.iter().enumerate() {
                    // Rows without gradient, and the pooler, stay.
                    if *g == 0.0 {
                        continue;
                    }
                    let g = f64::from(*g) / norm;
                    let (m, v) = &mut moments[k][i];
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    let correction = |beta: f64| 1.0 - beta.powi(step + 1);
                    let direction = *m / correction(0.9) / ((*v / correction(0.999)).sqrt() + 1e-6);
                    expected[k][i] -= 0.01 * (direction + decay * expected[k][i]);
                }
            }
            variables.update(Update::new(step as u64, 0.01, 0.1, 1.0 / norm)).expect("updates");
            assert_eq!(variables.gradient_norm(), 0.0);
        }
        for (k, name) in names.iter().enumerate() {
            let after = read(&variables, name);
            for ((after, expected), before) in after.iter().zip(&expected[k]).zip(&before[k]) {
                let close = (f64::from(*after) - expected).abs() < 1e-5;
                assert!(close, "{name}: {after} for {expected}, was {before}");
            }
            let changed = after.iter().zip(&before[k]).filter(|(a, b)| a != b).count();
            let used = [6 * 4, 4, 0][k];
            assert_eq!(changed, used, "{name}");
        }
        // The model sees the update.
        let seen = plm.forward(&whole, &batch()).expect("runs").hidden;
        let parameters = variables.encoder(&whole).expect("fits");
        let batch = Batch::new(&batch()).expect("a batch");
        let own = run(&parameters, &whole, &batch).hidden;
        let difference = (seen - own).and_then(|d| d.abs()?.max_all()?.to_scalar::<f32>());
        assert_eq!(difference.expect("a number"), 0.0);
    }
}
