//! The whole parameters of a model in training.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use atb_ranks::Ranks;
use atb_space::Architecture;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::adamw::{AdamW, Dense, Moments, Update};
use super::exchange;
use super::metrics::Exchange;
use crate::ops::{Engine, Gradient, Share, share_in_place, share_of_view};
use crate::parameters::{self, Linear, MlmHead, Parameters};
use crate::{PlmError, SuperPlm};
use atb_checkpoint::{Axis, KD_PROJECTION, KD_PROJECTION_BIAS, WORD_EMBEDDINGS};

/// A whole parameter, its gradient and its optimizer's state.
struct Variable {
    var: Var,
    axes: Vec<Axis>,
    state: State,
    /// Whether weight decay applies: not to biases and LayerNorm.
    decays: bool,
}

/// A gradient and an optimizer's state, where the operations want them.
enum State {
    /// Fused operations add gradients in place, in the memory of the host.
    InPlace { gradient: Arc<Gradient>, moments: Moments },
    /// candle returns the gradients of composite operations, on the parameter's device.
    Dense(Dense),
}

impl Variable {
    /// Values a row.
    fn width(&self) -> usize {
        self.var.dims().last().copied().unwrap_or(1)
    }

    /// First and second moment of the gradient, in the memory of the host.
    fn moments(&self) -> candle_core::Result<[Tensor; 2]> {
        match &self.state {
            State::InPlace { moments, .. } => {
                let tensor = |values| Tensor::from_slice(values, self.var.shape(), &Device::Cpu);
                Ok([tensor(&moments.first)?, tensor(&moments.second)?])
            }
            State::Dense(Dense { first, second, .. }) => {
                Ok([first.to_device(&Device::Cpu)?, second.to_device(&Device::Cpu)?])
            }
        }
    }
}

/// The parameters of a [`SuperPlm`] as variables, on the device of an engine.
///
/// Where the fused operations run, the model shares their memory, so it always is what the
/// training has come to; elsewhere [`Variables::write_to`] makes it that.
pub(crate) struct Variables {
    whole: Architecture,
    variables: BTreeMap<String, Variable>,
    engine: Engine,
    /// The gradients on their way to other ranks.
    flat: Vec<f32>,
}

impl Variables {
    pub(crate) fn of(plm: &mut SuperPlm, engine: &Engine) -> Result<Self, PlmError> {
        let whole = plm.architecture().clone();
        let mut variables = BTreeMap::new();
        for (name, stored) in plm.stored_mut() {
            let var = Var::from_tensor(&stored.tensor.to_device(engine.device())?)?;
            let state = if engine.is_fused() {
                stored.tensor = var.as_detached_tensor();
                let length = var.elem_count();
                let gradient = Arc::new(Gradient::new(length));
                State::InPlace { gradient, moments: Moments::new(length) }
            } else {
                State::Dense(Dense::new(&var)?)
            };
            let decays = !name.ends_with("bias") && !name.contains("LayerNorm");
            let variable = Variable { var, axes: stored.axes.clone(), state, decays };
            variables.insert(name.clone(), variable);
        }
        Ok(Self { whole, variables, engine: engine.clone(), flat: Vec::new() })
    }

    /// Brings a model, that these are the parameters of, up to date.
    pub(crate) fn write_to(&self, plm: &mut SuperPlm) -> Result<(), PlmError> {
        for (name, stored) in plm.stored_mut() {
            let Variable { var, state, .. } = &self.variables[name];
            if let State::Dense(_) = state {
                stored.tensor = var.as_detached_tensor().to_device(&Device::Cpu)?;
            }
        }
        Ok(())
    }

    /// What an architecture uses of the encoder; without the pooler, which no objective
    /// trains.
    pub(super) fn encoder(&self, arch: &Architecture) -> Result<Parameters<Share>, PlmError> {
        parameters::check_fit(&self.whole, arch)?;
        self.collect(arch, false)
    }

    /// All of the encoder, with the pooler where the model has one.
    pub(crate) fn whole_encoder(&self) -> Result<Parameters<Share>, PlmError> {
        self.collect(&self.whole, self.variables.contains_key("pooler.dense.weight"))
    }

    fn collect(&self, arch: &Architecture, pooler: bool) -> Result<Parameters<Share>, PlmError> {
        let share = |name: &str, axes: &[Axis]| Ok(self.share(name, axes, arch)?);
        Parameters::collect(arch.num_layers(), pooler, share)
    }

    /// The linear layer of a head.
    pub(crate) fn dense(&self, dense: &atb_interface::Dense) -> Result<Linear, PlmError> {
        let take = |name: String| {
            let Some(variable) = self.variables.get(&name) else {
                candle_core::bail!("the model has no `{name}`");
            };
            self.share(&name, &variable.axes, &self.whole)?.tensor()
        };
        Ok(Linear { weight: take(dense.weight())?, bias: take(format!("{}.bias", dense.module))? })
    }

    /// What an architecture uses of the MLM head, and the decoder's weights.
    pub(super) fn mlm_head(&self, arch: &Architecture) -> Result<(MlmHead, Tensor), PlmError> {
        let tensor = |name: &str, axes: &[Axis]| self.share(name, axes, arch)?.tensor();
        let decoder = tensor(WORD_EMBEDDINGS, &[Axis::Vocabulary, Axis::Hidden])?;
        Ok((MlmHead::collect(tensor)?, decoder))
    }

    /// The KD projection's share of `arch`, with a bias of zeros where it has none.
    pub(super) fn kd_projection(&self, arch: &Architecture) -> Result<Linear, PlmError> {
        let take = |name: &str| self.share(name, &self.variables[name].axes, arch)?.tensor();
        let weight = take(KD_PROJECTION)?;
        let bias = if self.variables.contains_key(KD_PROJECTION_BIAS) {
            take(KD_PROJECTION_BIAS)?
        } else {
            Tensor::zeros(weight.dim(0)?, DType::F32, weight.device())?
        };
        Ok(Linear { weight, bias })
    }

    /// What computes with them.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    fn share(&self, name: &str, axes: &[Axis], arch: &Architecture) -> candle_core::Result<Share> {
        let Variable { var, state, .. } = &self.variables[name];
        match state {
            State::InPlace { gradient, .. } => {
                Ok(share_in_place(var, axes, &self.whole, arch, Some(gradient.clone())))
            }
            State::Dense(Dense { used, .. }) => {
                share_of_view(var, axes, &self.whole, arch, Some(used.clone()))
            }
        }
    }

    /// Adds the gradients that a backward pass returned; those of fused operations it has
    /// added itself.
    pub(crate) fn add_gradients(&mut self, store: &GradStore) -> candle_core::Result<()> {
        for variable in self.variables.values_mut() {
            if let State::Dense(dense) = &mut variable.state
                && let Some(gradient) = store.get(&variable.var)
            {
                dense.add_gradient(gradient)?;
            }
        }
        Ok(())
    }

    /// Replaces the gradients by their sums over all ranks: in one buffer that holds what any rank
    /// has touched, of tables only those rows. Nothing with one rank.
    pub(crate) fn exchange(&mut self, ranks: &Ranks) -> candle_core::Result<Option<Exchange>> {
        if ranks.are_one() {
            return Ok(None);
        }
        let parts = self.variables.values_mut().map(|variable| {
            let width = variable.width();
            let state: &mut dyn exchange::Part = match &mut variable.state {
                State::InPlace { gradient, .. } => gradient,
                State::Dense(dense) => dense,
            };
            exchange::Parameter { values: variable.var.elem_count(), width, state }
        });
        exchange::sum(ranks, &mut parts.collect::<Vec<_>>(), &mut self.flat).map(Some)
    }

    /// A digest of all parameters.
    pub(super) fn digest(&self) -> candle_core::Result<String> {
        let one = |variable: &Variable| -> candle_core::Result<Vec<u8>> {
            let values: Vec<f32> = variable.var.flatten_all()?.to_vec1()?;
            let mut hasher = Sha256::new();
            for values in values.chunks(1024) {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                hasher.update(bytes);
            }
            Ok(hasher.finalize().to_vec())
        };
        let variables: Vec<&Variable> = self.variables.values().collect();
        let digests: Vec<Vec<u8>> =
            variables.into_par_iter().map(one).collect::<candle_core::Result<_>>()?;
        Ok(atb_files::hex(&Sha256::digest(digests.concat())))
    }

    /// The norm of all gradients together.
    fn gradient_norm(&self) -> candle_core::Result<f64> {
        let mut on_device = Vec::new();
        for variable in self.variables.values() {
            if let State::Dense(dense) = &variable.state {
                on_device.extend(dense.squared_norm()?);
            }
        }
        let squares: Vec<f64> = if on_device.is_empty() {
            let square = |(_, variable): (&String, &Variable)| match &variable.state {
                State::InPlace { gradient, .. } => gradient.lock().squared_norm(variable.width()),
                State::Dense(_) => 0.0,
            };
            self.variables.par_iter().map(square).collect()
        } else {
            // Read at once: each reading waits for the device.
            let squares: Vec<f32> = Tensor::stack(&on_device, 0)?.to_vec1()?;
            squares.into_iter().map(f64::from).collect()
        };
        // In the order of the names, whichever thread was first.
        Ok(squares.into_iter().sum::<f64>().sqrt())
    }

    /// The `step`-th step of AdamW, counted from 0, after which all gradients are zero. Gradients
    /// whose norm is above `max_grad_norm` are scaled down to it. Returns the norm; if it is not
    /// finite, nothing is changed.
    pub(crate) fn optimize(
        &mut self,
        step: u64,
        learning_rate: f64,
        weight_decay: f64,
        max_grad_norm: f64,
    ) -> candle_core::Result<f64> {
        let norm = self.gradient_norm()?;
        if norm.is_finite() {
            let scale = (max_grad_norm / norm).min(1.0);
            self.update(Update::new(step, learning_rate, weight_decay, scale))?;
        }
        Ok(norm)
    }

    /// One step of AdamW, after which all gradients are zero.
    fn update(&mut self, update: Update) -> candle_core::Result<()> {
        let update_one = |(_, variable): (&String, &mut Variable)| {
            let update = if variable.decays { update } else { update.without_decay() };
            let width = variable.width();
            match &mut variable.state {
                State::InPlace { gradient, moments } => {
                    let mut sum = gradient.lock();
                    let state = Mutex::new((&mut *sum, moments));
                    variable.var.inplace_op1(&AdamW { update, width, state })
                }
                State::Dense(dense) => dense.update(&variable.var, &update),
            }
        };
        if self.engine.is_fused() {
            self.variables.par_iter_mut().try_for_each(update_one)
        } else {
            // One thread gives another device its work.
            self.variables.iter_mut().try_for_each(update_one)
        }
    }

    /// Every variable's name and its optimizer's state: first and second moment, in the memory
    /// of the host.
    pub(super) fn moments(
        &self,
    ) -> impl Iterator<Item = (&String, candle_core::Result<[Tensor; 2]>)> {
        self.variables.iter().map(|(name, variable)| (name, variable.moments()))
    }

    /// The names and numbers of values of all variables.
    pub(super) fn lengths(&self) -> Vec<(String, usize)> {
        self.variables.iter().map(|(name, v)| (name.clone(), v.var.elem_count())).collect()
    }

    /// Replaces an optimizer's state; both moments have as many values as the variable.
    pub(super) fn set_moments(
        &mut self,
        name: &str,
        [first, second]: [Vec<f32>; 2],
    ) -> candle_core::Result<()> {
        let Some(Variable { var, state, .. }) = self.variables.get_mut(name) else {
            candle_core::bail!("no variable is called `{name}`");
        };
        match state {
            State::InPlace { moments, .. } => *moments = Moments { first, second },
            State::Dense(dense) => {
                dense.first = Tensor::from_vec(first, var.shape(), var.device())?;
                dense.second = Tensor::from_vec(second, var.shape(), var.device())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bert::{self, Batch};
    use crate::ops::{Rows, Touched};
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

    fn run(variables: &Variables, arch: &Architecture) -> crate::Output {
        let parameters = variables.encoder(arch).expect("fits");
        let batch = Batch::new(&batch(), &Device::Cpu).expect("a batch");
        bert::forward(&parameters, arch, 1e-12, &batch, variables.engine()).expect("runs")
    }

    /// The gradient of a parameter of fused operations.
    fn gradient<'a>(variables: &'a Variables, name: &str) -> &'a Gradient {
        match &variables.variables[name].state {
            State::InPlace { gradient, .. } => gradient,
            State::Dense(_) => panic!("{name} has its gradient elsewhere"),
        }
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
            // The composite operations see another copy of the same weights.
            let composite = Engine::composite(Device::Cpu);
            let composite = Variables::of(&mut plm, &composite).expect("variables");
            let variables = Variables::of(&mut plm, &Engine::cpu()).expect("variables");

            let output = run(&variables, &arch);
            let store = scalar(&output).backward().expect("gradients");
            assert!(variables.variables.values().all(|v| store.get(&v.var).is_none()));

            let output = run(&composite, &arch);
            let store = scalar(&output).backward().expect("gradients");
            for name in variables.variables.keys() {
                let sum = gradient(&variables, name).lock();
                let dense = &composite.variables[name];
                let State::Dense(Dense { used, .. }) = &dense.state else {
                    panic!("{name} is not the composite operations'")
                };
                let used = used.take();
                let Some(expected) = store.get(&dense.var) else {
                    assert_eq!(sum.touched, Touched::Nothing, "{id}: {name}");
                    assert!(matches!(used, Rows::Nothing), "{id}: {name}");
                    continue;
                };
                let expected = expected.flatten_all().and_then(|t| t.to_vec1::<f32>());
                for (found, expected) in sum.values.iter().zip(expected.expect("values")) {
                    let close = (found - expected).abs() < 1e-5 * (1.0 + expected.abs());
                    assert!(close, "{id}: {name}: {found} for {expected}");
                }
                match (&sum.touched, used) {
                    (Touched::Everything, Rows::Everything) => {}
                    (Touched::Rows(rows), Rows::LookedUp(counts)) => {
                        let counts = counts.flatten_all().and_then(|t| t.to_vec1::<f32>());
                        for (row, count) in counts.expect("counts").into_iter().enumerate() {
                            let times = rows.iter().filter(|r| **r as usize == row).count();
                            assert_eq!(count, times as f32, "{id}: row {row} of {name}");
                        }
                    }
                    (touched, used) => panic!("{id}: {name}: {touched:?} and {used:?}"),
                }
            }
            let words = gradient(&variables, WORD_EMBEDDINGS).lock();
            assert!(matches!(words.touched, Touched::Rows(_)));
        }
    }

    /// Rank `r` runs a batch of its own; all end with the sum of both gradients, by fused and by
    /// composite operations.
    #[test]
    fn what_ranks_exchange_is_what_was_touched_and_little_more() {
        let whole: Architecture = "2-96-192-4-96".parse().expect("an architecture");
        let arch: Architecture = "1-64-192-4-96".parse().expect("an architecture");
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let batch = |rank: i64| Encoded {
            batch: 1,
            sequence: 4,
            input_ids: vec![101, 2000 + rank, 3000, 102],
            attention_mask: vec![1; 4],
            token_type_ids: vec![rank; 4],
        };
        let backward = |variables: &mut Variables, rank: i64| {
            let parameters = variables.encoder(&arch).expect("fits");
            let batch = Batch::new(&batch(rank), &Device::Cpu).expect("a batch");
            let output = bert::forward(&parameters, &arch, 1e-12, &batch, variables.engine());
            let store = scalar(&output.expect("runs")).backward().expect("gradients");
            variables.add_gradients(&store).expect("adds");
        };
        let variables = |engine: &Engine| {
            let mut plm = SuperPlm::random(whole.clone(), tokenizer.clone(), 3).expect("random");
            Variables::of(&mut plm, engine).expect("variables")
        };
        let mut both = variables(&Engine::cpu());
        (0..2).for_each(|rank| backward(&mut both, rank));
        let norm = both.gradient_norm().expect("a norm");
        let mut touched = 0;
        for (name, variable) in &both.variables {
            let mut sum = gradient(&both, name).lock();
            touched += match &mut sum.touched {
                Touched::Nothing => 0,
                Touched::Everything => variable.var.elem_count(),
                Touched::Rows(rows) => {
                    rows.sort_unstable();
                    rows.dedup();
                    rows.len() * variable.width()
                }
            };
        }
        for engine in [Engine::cpu(), Engine::composite(Device::Cpu)] {
            std::thread::scope(|scope| {
                for ranks in Ranks::threads(2) {
                    let (engine, both, variables, backward) =
                        (&engine, &both, &variables, &backward);
                    scope.spawn(move || {
                        let mut own = variables(engine);
                        backward(&mut own, ranks.rank() as i64);
                        let exchange = own.exchange(&ranks).expect("adds").expect("two ranks");
                        let weight = 4 * touched as u64;
                        assert!(exchange.bytes >= weight, "{exchange:?} for {weight}");
                        assert!(exchange.bytes * 100 <= weight * 105, "{exchange:?} for {weight}");
                        let found = own.gradient_norm().expect("a norm");
                        assert!((found - norm).abs() < 1e-5 * norm, "{found} for {norm}");
                        // Rows that no rank used stay as they are, those of either are updated.
                        own.update(Update::new(0, 0.01, 0.0, 1.0)).expect("updates");
                        let words = |variables: &Variables| -> Vec<Vec<f32>> {
                            let words = &variables.variables[WORD_EMBEDDINGS].var;
                            words.to_vec2().expect("rows")
                        };
                        let changed = words(&own)
                            .into_iter()
                            .zip(words(both))
                            .enumerate()
                            .filter_map(|(row, (own, before))| (own != before).then_some(row));
                        let expected = [101, 102, 2000, 2001, 3000];
                        assert_eq!(changed.collect::<Vec<_>>(), expected);
                    });
                }
            });
        }
    }

    #[test]
    fn an_update_is_adamws_and_leaves_unused_rows_alone() {
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let whole: Architecture = "1-4-8-2-4".parse().expect("an architecture");
        let mut plm = SuperPlm::random(whole.clone(), tokenizer, 3).expect("random");
        let mut variables = Variables::of(&mut plm, &Engine::cpu()).expect("variables");
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
            let output = run(&variables, &whole);
            scalar(&output).backward().expect("gradients");
            let norm = variables.gradient_norm().expect("a norm");
            assert!(norm > 1.0);
            for (k, name) in names.iter().enumerate() {
                let gradient = gradient(&variables, name).lock().values.clone();
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
            assert_eq!(variables.gradient_norm().expect("a norm"), 0.0);
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
        let own = run(&variables, &whole).hidden;
        let difference = (seen - own).and_then(|d| d.abs()?.max_all()?.to_scalar::<f32>());
        assert_eq!(difference.expect("a number"), 0.0);
    }
}
