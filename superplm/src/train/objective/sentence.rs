//! Distillation of sentence embeddings: of the mean of a text's last hidden states.
//!
//! Three terms, each with a weight of its own:
//!
//! - `cosine`: one minus the cosine of the student's and the teacher's embedding of a text,
//!   on average over a batch;
//! - `similarities`: the squared difference between the cosines of two texts in the student's
//!   space and in the teacher's, on average over the pairs of different texts of a batch;
//! - `hidden_states`: the mean squared error of the hidden states themselves, over the
//!   variance that the teacher's have in the batch.
//!
//! Embeddings are means over the real tokens, in the teacher's width: the student's are
//! projected there by the projection that distillation learns.

use std::ops::Range;

use atb_ranks::Ranks;
use atb_space::Architecture;
use atb_text::{Encoded, Specials};
use candle_core::{Result as TensorResult, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Goal, Minimised, ObjectiveKind, Prepared, Step, Student, Term, check_projection, needed,
};
use crate::bert::Batch;
use crate::kd::project;
use crate::ops::Engine;
use crate::sentence::{cosine_distances, mean_pooled, normalised, similarity_errors};
use crate::train::TrainError;
use crate::{PlmError, SuperPlm};

const NAME: &str = "sentence";

/// Batch size of held-out text.
const BATCH_SIZE: usize = 8;

pub(super) const KIND: ObjectiveKind = ObjectiveKind {
    name: NAME,
    about: "distilled from the teacher's sentence embeddings",
    needs_teacher: true,
    make: |teacher, options| {
        let refuse = |problem: String| TrainError::Objective { name: NAME, problem };
        let weights = Weights::read(options).map_err(refuse)?;
        Ok(Box::new(SentenceEmbeddings { teacher: needed(NAME, teacher)?, weights }))
    },
};

/// What each term counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Weights {
    cosine: f64,
    similarities: f64,
    hidden_states: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { cosine: 1.0, similarities: 1.0, hidden_states: 0.0 }
    }
}

impl Weights {
    fn read(options: Value) -> Result<Self, String> {
        let weights = match options {
            Value::Null => Self::default(),
            options => serde_json::from_value(options).map_err(|error| error.to_string())?,
        };
        let all = [weights.cosine, weights.similarities, weights.hidden_states];
        if all.iter().any(|weight| !(0.0..=1e6).contains(weight)) {
            return Err("has a weight that is not from 0 to 1000000".to_owned());
        }
        if all.iter().all(|weight| *weight == 0.0) {
            return Err("has no weight above 0".to_owned());
        }
        Ok(weights)
    }

    /// The terms that count, of the embeddings `[texts, width]` of both, the student's of a rank's
    /// part of the texts, and of the hidden states' relative error, which is asked for only if it
    /// counts.
    fn terms(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        texts: &Texts,
        hidden_states: impl FnOnce() -> TensorResult<Tensor>,
    ) -> TensorResult<Vec<Term>> {
        let mut terms = Vec::new();
        let mut count = |name, weight: f64, value: Tensor| {
            terms.push(Term { name, value: (value * weight)? });
            Ok::<_, candle_core::Error>(())
        };
        let (student, teacher) = (normalised(student)?, normalised(teacher)?);
        if self.cosine > 0.0 {
            let distances = cosine_distances(&student, &texts.own(&teacher)?)?;
            count("cosine", self.cosine, texts.share_of_mean(&distances)?)?;
        }
        if self.similarities > 0.0 {
            count(
                "similarities",
                self.similarities,
                texts.share_of_all(
                    similarity_errors(&texts.all(&student)?, &teacher)?.mean_all()?,
                )?,
            )?;
        }
        if self.hidden_states > 0.0 {
            count("hidden_states", self.hidden_states, hidden_states()?)?;
        }
        Ok(terms)
    }
}

#[derive(Debug)]
struct SentenceEmbeddings {
    teacher: SuperPlm,
    weights: Weights,
}

impl Minimised for SentenceEmbeddings {
    fn name(&self) -> &'static str {
        NAME
    }

    fn options(&self) -> Option<Value> {
        serde_json::to_value(self.weights).ok()
    }

    fn teacher(&self) -> Option<&SuperPlm> {
        Some(&self.teacher)
    }

    fn check(&self, plm: &SuperPlm) -> Result<(), TrainError> {
        check_projection(plm, &self.teacher)
    }

    fn add_parameters(&self, plm: &mut SuperPlm, _seed: u64) -> Result<(), TrainError> {
        Ok(plm.ensure_kd_projection(self.teacher.architecture().hidden())?)
    }

    fn on(&self, engine: &Engine) -> Result<Box<dyn Minimised>, PlmError> {
        Ok(Box::new(Self { teacher: self.teacher.on(engine)?, weights: self.weights }))
    }

    fn prepare(&self, batch: Encoded, of: &Step<'_>) -> Result<Prepared, PlmError> {
        let texts = Texts::of(of.ranks, batch.batch);
        let batch = batch.rows(texts.part.clone());
        let hidden = self.teacher.forward(self.teacher.architecture(), &batch)?.hidden;
        let batch = Batch::new(&batch, of.engine.device())?;
        let deviations = match self.weights.hidden_states > 0.0 {
            true => Some(texts.squared_deviations(&hidden, &batch.mask)?),
            false => None,
        };
        let goal = Box::new(Embeddings {
            pooled: texts.all(&mean_pooled(&hidden, &batch.mask)?)?,
            hidden,
            deviations,
            weights: self.weights,
            texts,
        });
        Ok(Prepared { batch, goal })
    }

    fn validate(
        &self,
        plm: &SuperPlm,
        _specials: &Specials,
        panel: &[Architecture],
        held_out: &Encoded,
    ) -> Result<Vec<f64>, PlmError> {
        let batches = held_out.split_trimmed(BATCH_SIZE);
        let engine = plm.engine();
        // Embeddings of all texts, and of the hidden states the errors and squared deviations.
        let run = |arch: &Architecture| -> Result<f64, PlmError> {
            let projection = plm.kd_projection(arch)?.ok_or_else(|| {
                PlmError::Teacher("the model has no kd_projection.weight".to_owned())
            })?;
            let of_batches: Vec<[Tensor; 4]> = batches
                .par_iter()
                .map(|tokens| {
                    let mask = Batch::new(tokens, engine.device())?.mask;
                    let teacher = self.teacher.forward(self.teacher.architecture(), tokens)?.hidden;
                    let own = project(engine, &plm.forward(arch, tokens)?.hidden, &projection)?;
                    Ok([
                        mean_pooled(&own, &mask)?,
                        mean_pooled(&teacher, &mask)?,
                        engine.masked_squared_error(&own, &teacher, &mask)?,
                        squared_deviations(&teacher, &mask)?,
                    ])
                })
                .collect::<Result<_, PlmError>>()?;
            let all = |i: usize| of_batches.iter().map(|b| b[i].clone()).collect::<Vec<_>>();
            let [own, teacher] = [0, 1].map(|i| Tensor::cat(&all(i), 0));
            let texts = Texts::of(&Ranks::alone(), held_out.batch);
            let terms = self.weights.terms(&own?, &teacher?, &texts, || {
                Tensor::stack(&all(2), 0)?.sum_all()? / Tensor::stack(&all(3), 0)?.sum_all()?
            })?;
            let mut loss = 0.0;
            for term in terms {
                loss += f64::from(term.value.to_scalar::<f32>()?);
            }
            match loss.is_finite() {
                true => Ok(loss),
                false => Err(PlmError::NotFinite { arch: arch.id(), loss }),
            }
        };
        panel.iter().map(run).collect()
    }
}

struct Embeddings {
    /// The teacher's of the whole batch, `[texts, width]`.
    pooled: Tensor,
    /// The teacher's hidden states of the own part.
    hidden: Tensor,
    /// Their squared deviations in the whole batch, if they count.
    deviations: Option<Tensor>,
    weights: Weights,
    texts: Texts,
}

impl Goal for Embeddings {
    fn terms(&self, student: &Student<'_>, batch: &Batch) -> Result<Vec<Term>, PlmError> {
        let engine = student.engine();
        let projection = student.kd_projection()?;
        let own = project(engine, &student.output.hidden, &projection)?;
        let pooled = mean_pooled(&own, &batch.mask)?;
        let terms = self.weights.terms(&pooled, &self.pooled, &self.texts, || {
            let error = engine.masked_squared_error(&own, &self.hidden, &batch.mask)?;
            match &self.deviations {
                Some(deviations) => error / deviations,
                None => candle_core::bail!("hidden states do not count"),
            }
        })?;
        Ok(terms)
    }
}

/// The texts of a batch, of which every rank has a part: terms that compare texts with each other
/// are of all of them.
struct Texts {
    ranks: Ranks,
    count: usize,
    /// Those of this rank.
    part: Range<usize>,
}

impl Texts {
    fn of(ranks: &Ranks, count: usize) -> Self {
        Self { ranks: ranks.clone(), count, part: ranks.part(count) }
    }

    /// The own rows of all.
    fn own(&self, all: &Tensor) -> TensorResult<Tensor> {
        all.narrow(0, self.part.start, self.part.len())
    }

    /// The rows `[texts, width]` of all ranks; only the own have gradients.
    fn all(&self, own: &Tensor) -> TensorResult<Tensor> {
        if self.ranks.are_one() {
            return Ok(own.clone());
        }
        let width = own.dim(1)?;
        let mut values = vec![0.0; self.count * width];
        values[self.part.start * width..self.part.end * width]
            .copy_from_slice(&own.detach().flatten_all()?.to_vec1::<f32>()?);
        self.ranks.sum(&mut values);
        let all = Tensor::from_vec(values, (self.count, width), own.device())?;
        let mut rows = vec![own.clone()];
        if self.part.start > 0 {
            rows.insert(0, all.narrow(0, 0, self.part.start)?);
        }
        if self.part.end < self.count {
            rows.push(all.narrow(0, self.part.end, self.count - self.part.end)?);
        }
        Tensor::cat(&rows, 0)
    }

    /// The share of the own values in the mean over all texts.
    fn share_of_mean(&self, own: &Tensor) -> TensorResult<Tensor> {
        own.sum_all()? / self.count as f64
    }

    /// This rank's share of a value that every rank has computed from all texts, with the whole of
    /// the gradient that the own texts have in it.
    fn share_of_all(&self, value: Tensor) -> TensorResult<Tensor> {
        let others = 1.0 - self.part.len() as f64 / self.count as f64;
        if others == 0.0 { Ok(value) } else { &value - (value.detach() * others)? }
    }

    /// Squared deviations of the real tokens' states from their mean in the whole batch, summed up
    /// over it.
    fn squared_deviations(&self, hidden: &Tensor, mask: &Tensor) -> TensorResult<Tensor> {
        let across = |values: &Tensor| -> TensorResult<Tensor> {
            if self.ranks.are_one() {
                return Ok(values.clone());
            }
            let mut sums: Vec<f32> = values.flatten_all()?.to_vec1()?;
            self.ranks.sum(&mut sums);
            Tensor::from_vec(sums, values.shape(), values.device())
        };
        let mask = mask.unsqueeze(2)?;
        let sums = across(&hidden.broadcast_mul(&mask)?.sum_keepdim((0, 1))?)?;
        let tokens = across(&mask.sum_keepdim((0, 1))?)?;
        let mean = sums.broadcast_div(&tokens.maximum(1.0)?)?;
        across(&hidden.broadcast_sub(&mean)?.broadcast_mul(&mask)?.sqr()?.sum_all()?)? + 1e-12
    }
}

/// Squared deviations of the real tokens' states from their mean, summed up.
fn squared_deviations(hidden: &Tensor, mask: &Tensor) -> TensorResult<Tensor> {
    Texts::of(&Ranks::alone(), hidden.dim(0)?).squared_deviations(hidden, mask)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use serde_json::json;

    use super::*;

    fn tensor<const N: usize>(rows: &[[f32; N]]) -> Tensor {
        Tensor::from_vec(rows.concat(), (rows.len(), N), &Device::Cpu).expect("a tensor")
    }

    fn number(value: &Tensor) -> f64 {
        f64::from(value.to_scalar::<f32>().expect("a number"))
    }

    #[test]
    fn the_terms_are_what_their_definitions_say() {
        // Two tokens of the first text, one of the second.
        let hidden =
            Tensor::new(&[[[1f32, 0.0], [3.0, 2.0]], [[0.0, 2.0], [9.0, 9.0]]], &Device::Cpu)
                .expect("a tensor");
        let mask = tensor(&[[1.0, 1.0], [1.0, 0.0]]);
        let pooled = mean_pooled(&hidden, &mask).expect("pools");
        assert_eq!(pooled.to_vec2::<f32>().expect("rows"), [[2.0, 1.0], [0.0, 2.0]]);
        // Means 4/3 of each: (1/9 + 25/9 + 16/9) + (16/9 + 4/9 + 4/9).
        let deviations = number(&squared_deviations(&hidden, &mask).expect("deviations"));
        assert!((deviations - 66.0 / 9.0).abs() < 1e-5, "{deviations}");

        let (student, teacher) =
            (tensor(&[[1.0, 0.0], [0.0, 3.0]]), tensor(&[[2.0, 2.0], [0.0, 1.0]]));
        let weights = Weights { cosine: 2.0, similarities: 1.0, hidden_states: 0.5 };
        let half = || Tensor::new(0.5f32, &Device::Cpu);
        let texts = Texts::of(&Ranks::alone(), 2);
        let terms = weights.terms(&student, &teacher, &texts, half).expect("terms");
        let found: Vec<_> = terms.iter().map(|term| (term.name, number(&term.value))).collect();
        let cosine = 0.5_f64.sqrt();
        // The cosine of the two texts is 0 to the student, that of 45 degrees to the teacher.
        let expected = [
            ("cosine", 2.0 * (1.0 - f64::midpoint(cosine, 1.0))),
            ("similarities", cosine * cosine),
            ("hidden_states", 0.25),
        ];
        assert_eq!(found.len(), 3);
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.0, expected.0);
            assert!((found.1 - expected.1).abs() < 1e-6, "{found:?} for {expected:?}");
        }
        // What agrees but for its length costs nothing.
        let longer = (&teacher * 3.0).expect("scales");
        let terms = Weights::default().terms(&longer, &teacher, &texts, half).expect("terms");
        assert!(terms.iter().all(|term| number(&term.value).abs() < 1e-6));
    }

    #[test]
    fn gradients_are_finite_differences() {
        const STEP: f32 = 1e-2;
        let teacher = tensor(&[[0.3, -1.0, 0.5], [1.2, 0.4, -0.7], [-0.2, 0.9, 1.1]]);
        let start = [[0.9_f32, 0.1, -0.4], [0.2, -0.8, 0.6], [-1.0, 0.5, 0.3]];
        let loss = |student: &Tensor| {
            let none = || candle_core::bail!("it does not count");
            let texts = Texts::of(&Ranks::alone(), 3);
            let terms = Weights::default().terms(student, &teacher, &texts, none).expect("terms");
            let [cosine, similarities] = &terms[..] else { panic!("two terms") };
            (&cosine.value + &similarities.value).expect("a sum")
        };
        let variable = Var::from_tensor(&tensor(&start)).expect("a variable");
        let gradients = loss(&variable).backward().expect("gradients");
        let gradient = gradients.get(&variable).expect("has one").to_vec2::<f32>().expect("rows");
        for i in 0..3 {
            for j in 0..3 {
                let at = |offset: f32| {
                    let mut moved = start;
                    moved[i][j] += offset;
                    number(&loss(&tensor(&moved)))
                };
                let difference = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
                let found = f64::from(gradient[i][j]);
                assert!((found - difference).abs() < 2e-3, "{i} {j}: {found} for {difference}");
            }
        }
    }

    #[test]
    fn options_are_weights_within_a_range() {
        let read = |options| Weights::read(options);
        assert_eq!(read(Value::Null), Ok(Weights::default()));
        let mixed = Weights { hidden_states: 0.1, ..Weights::default() };
        assert_eq!(read(json!({ "hidden_states": 0.1 })), Ok(mixed));
        for wrong in [
            json!({ "cosine": -1.0 }),
            json!({ "cosines": 1.0 }),
            json!({ "cosine": 0.0, "similarities": 0.0 }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
