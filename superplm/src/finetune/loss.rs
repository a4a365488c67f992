//! How far a model's logits are from what is right, and from a teacher's.

use candle_core::{D, Device, Result, Tensor};

use super::row::{Row, Target};
use super::settings::DistillationSettings;
use crate::ops::Engine;
use crate::train::Term;

/// What the terms are called, in their order; the second is there with a teacher only.
pub(super) const TERMS: [&str; 2] = ["task", "distillation"];

/// How many terms the loss of these rows has.
pub(super) fn count_of_terms(rows: &[&Row]) -> usize {
    if rows.iter().all(|row| row.teacher.is_some()) { 2 } else { 1 }
}

/// Added to the logits of padding.
const MASKED: f64 = -10_000.0;

/// The loss's terms, which are added up: the share of `rows` in what a batch of `count` rows loses.
/// `logits` are `[rows, outputs]` of whole texts, and
/// `[rows, sequence, 2]` of spans; `mask`, `[rows, sequence]`, is 1 for real tokens.
pub(super) fn terms(
    engine: &Engine,
    logits: &Tensor,
    rows: &[&Row],
    mask: &Tensor,
    distillation: &DistillationSettings,
    count: usize,
) -> Result<Vec<Term>> {
    let count = count as f64;
    let device = logits.device();
    let cross_entropy = |logits: &Tensor, labels: &dyn Fn(&Row) -> usize| -> Result<Tensor> {
        let labels: Vec<i64> = rows.iter().map(|row| labels(row) as i64).collect();
        engine.cross_entropy(logits, &Tensor::new(labels, device)?)? / count
    };
    let of_task = match rows.first().map(|row| row.target) {
        Some(Target::Label(_)) => cross_entropy(logits, &|row| match row.target {
            Target::Label(label) => label,
            Target::Score(_) | Target::Span { .. } => 0,
        })?,
        Some(Target::Score(_)) => {
            let scores: Vec<f32> = rows.iter().map(|row| score(row)).collect();
            squared_error(logits, scores, count)?
        }
        Some(Target::Span { .. }) => {
            let position = |end_of: bool| {
                move |row: &Row| match row.target {
                    Target::Span { start, end } => {
                        if end_of {
                            end
                        } else {
                            start
                        }
                    }
                    Target::Label(_) | Target::Score(_) => 0,
                }
            };
            let [begins, ends] = columns(logits, mask)?;
            let sum =
                cross_entropy(&begins, &position(false))? + cross_entropy(&ends, &position(true))?;
            (sum? / 2.0)?
        }
        None => candle_core::bail!("a batch without rows"),
    };
    let DistillationSettings { weight, temperature } = *distillation;
    let Some(teacher) = rows.iter().map(|row| row.teacher.as_deref()).collect::<Option<Vec<_>>>()
    else {
        return Ok(vec![Term { name: TERMS[0], value: of_task }]);
    };
    let of_teacher = match rows[0].target {
        Target::Label(_) => divergence(logits, &teacher.concat(), temperature, count)?,
        Target::Score(_) => squared_error(logits, teacher.concat(), count)?,
        Target::Span { .. } => {
            let sequence = mask.dim(1)?;
            let half = |second: bool| -> Vec<f32> {
                let of_row = |logits: &&[f32]| {
                    let (begins, ends) = logits.split_at(logits.len() / 2);
                    let mut values = if second { ends } else { begins }.to_vec();
                    values.resize(sequence, MASKED as f32);
                    values
                };
                teacher.iter().flat_map(of_row).collect()
            };
            let [begins, ends] = columns(logits, mask)?;
            let sum = divergence(&begins, &half(false), temperature, count)?
                + divergence(&ends, &half(true), temperature, count)?;
            (sum? / 2.0)?
        }
    };
    Ok(vec![
        Term { name: TERMS[0], value: (of_task * (1.0 - weight))? },
        Term { name: TERMS[1], value: (of_teacher * weight)? },
    ])
}

fn score(row: &Row) -> f32 {
    match row.target {
        Target::Score(score) => score,
        Target::Label(_) | Target::Span { .. } => 0.0,
    }
}

/// The squared error of `[rows, 1]` logits over the number of rows of the batch.
fn squared_error(logits: &Tensor, expected: Vec<f32>, count: f64) -> Result<Tensor> {
    let expected = Tensor::from_vec(expected, logits.shape(), logits.device())?;
    (logits - expected)?.sqr()?.sum_all()? / count
}

/// The logits of the begin and of the end, `[rows, sequence]` each, padding's as low as it gets.
fn columns(logits: &Tensor, mask: &Tensor) -> Result<[Tensor; 2]> {
    let penalty = mask.affine(-MASKED, MASKED)?;
    let column = |number| logits.narrow(2, number, 1)?.squeeze(2)? + &penalty;
    Ok([column(0)?, column(1)?])
}

/// Kullback-Leibler divergence of the softmax of `logits`, `[rows, classes]`, from that of
/// `teacher`'s, over the number of rows of the batch; both divided by the temperature, and the divergence
/// multiplied by its square, so that gradients keep their size.
fn divergence(logits: &Tensor, teacher: &[f32], temperature: f64, count: f64) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    let (mut probabilities, mut negative_entropy) = (Vec::with_capacity(teacher.len()), 0.0);
    for logits in teacher.chunks_exact(classes) {
        let logits: Vec<f64> = logits.iter().map(|x| f64::from(*x) / temperature).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let normaliser = logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest;
        for logit in logits {
            let log = logit - normaliser;
            negative_entropy += log.exp() * log;
            probabilities.push(log.exp() as f32);
        }
    }
    let probabilities = Tensor::from_vec(probabilities, (rows, classes), &Device::Cpu)?;
    let softened = (logits / temperature)?;
    let shifted = softened.broadcast_sub(&softened.max_keepdim(D::Minus1)?.detach())?;
    let normaliser = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let likelihood = shifted.broadcast_sub(&normaliser)?;
    let likelihood = (likelihood * probabilities.to_device(logits.device())?)?.sum_all()?;
    let scale = temperature * temperature / count;
    likelihood.affine(-scale, negative_entropy * scale)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    fn row(target: Target, teacher: Option<Vec<f32>>) -> Row {
        Row { ids: vec![1, 2, 3], types: vec![0; 3], target, teacher }
    }

    fn values(logits: &Tensor, rows: &[Row], mask: &[[f32; 4]; 2]) -> Vec<f64> {
        let rows: Vec<&Row> = rows.iter().collect();
        let mask = Tensor::new(mask, &Device::Cpu).expect("a mask");
        let distillation = DistillationSettings { weight: 0.25, temperature: 2.0 };
        let terms = terms(&Engine::cpu(), logits, &rows, &mask, &distillation, rows.len());
        let terms = terms.expect("terms");
        let value = |term: &Term| f64::from(term.value.to_scalar::<f32>().expect("a number"));
        terms.iter().map(value).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{found:?} for {expected:?}");
        }
    }

    const MASK: [[f32; 4]; 2] = [[1.0; 4], [1.0, 1.0, 0.0, 0.0]];

    #[test]
    fn the_terms_are_what_their_definitions_say() {
        let logits = Tensor::new(&[[0.0f32, 2.0], [1.0, 1.0]], &Device::Cpu).expect("logits");
        let softplus = |x: f64| (1.0 + x.exp()).ln();
        let (first, second) = (softplus(-2.0), 2.0_f64.ln());
        let plain = [row(Target::Label(1), None), row(Target::Label(0), None)];
        close(&values(&logits, &plain, &MASK), &[(first + second) / 2.0]);
        // The teacher's odds are e to the power of 1 and of -2 at temperature 2.
        let taught = [
            row(Target::Label(1), Some(vec![1.0, 3.0])),
            row(Target::Label(0), Some(vec![4.0, 0.0])),
        ];
        let divergence = |teacher: f64, own: f64| {
            let p = 1.0 / (1.0 + (-teacher).exp());
            let q = 1.0 / (1.0 + (-own).exp());
            p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln()
        };
        let of_teacher = 4.0 * (divergence(1.0, 1.0) + divergence(-2.0, 0.0)) / 2.0;
        let expected = [0.75 * (first + second) / 2.0, 0.25 * of_teacher];
        close(&values(&logits, &taught, &MASK), &expected);

        let logits = Tensor::new(&[[1.0f32], [4.0]], &Device::Cpu).expect("logits");
        let scored =
            [row(Target::Score(2.0), Some(vec![1.0])), row(Target::Score(4.0), Some(vec![2.0]))];
        close(&values(&logits, &scored, &MASK), &[0.75 * 0.5, 0.25 * 2.0]);
    }

    #[test]
    fn an_answer_does_not_lie_in_the_padding() {
        let logits = Tensor::zeros((2, 4, 2), candle_core::DType::F32, &Device::Cpu);
        let rows = [
            row(Target::Span { start: 1, end: 2 }, None),
            row(Target::Span { start: 0, end: 1 }, None),
        ];
        let expected = f64::midpoint(4.0_f64.ln(), 2.0_f64.ln());
        close(&values(&logits.expect("logits"), &rows, &MASK), &[expected]);
    }

    #[test]
    fn the_divergence_s_gradient_is_a_finite_difference() {
        const STEP: f32 = 1e-2;
        let start = [[0.3_f32, -1.0, 0.5], [1.2, 0.4, -0.7]];
        let teacher = [1.0, 0.0, -1.0, 0.5, 2.0, 0.0];
        let loss = |logits: &Tensor| divergence(logits, &teacher, 1.5, 2.0).expect("a loss");
        let variable = Var::new(&start, &Device::Cpu).expect("a variable");
        let gradients = loss(&variable).backward().expect("gradients");
        let gradient = gradients.get(&variable).expect("has one").to_vec2::<f32>().expect("rows");
        for i in 0..2 {
            for j in 0..3 {
                let at = |offset: f32| {
                    let mut moved = start;
                    moved[i][j] += offset;
                    let logits = Tensor::new(&moved, &Device::Cpu).expect("logits");
                    loss(&logits).to_scalar::<f32>().expect("a number")
                };
                let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                assert!((gradient[i][j] - difference).abs() < 2e-3, "{i} {j}");
            }
        }
        let same = Tensor::from_slice(&teacher, (2, 3), &Device::Cpu).expect("logits");
        assert!(loss(&same).to_scalar::<f32>().expect("a number").abs() < 1e-6);
    }
}
