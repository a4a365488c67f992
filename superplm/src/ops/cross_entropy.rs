//! The loss of masked language modelling as one operation: the softmax over the
//! vocabulary is large, and never needed but for its gradient.

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::engine::{Engine, Form};
use super::functions::exp;
use super::loops::{by_row, largest, sum};
use super::operands::{last_axis, slice, values, with_values};
use crate::vectorised::vectorised;

impl Engine {
    /// The sum over the rows of `-log softmax(logits)[label]`, a scalar: `logits` is `[rows,
    /// classes]`, `labels` (i64) `[rows]`.
    pub(crate) fn cross_entropy(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match self.form {
            Form::Fused => fused(logits, labels),
            Form::Composite => composite(logits, labels),
        }
    }
}

fn composite(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let normaliser = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let log_likelihood = shifted.gather(&labels.unsqueeze(1)?, 1)? - normaliser;
    log_likelihood?.sum_all()?.neg()
}

fn fused(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    logits.contiguous()?.apply_op2(&labels.contiguous()?, CrossEntropy)
}

struct CrossEntropy;

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        labels: &CpuStorage,
        labels_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let classes = last_axis(logits_layout);
        let labels = slice::<i64>(labels, labels_layout)?;
        if let Some(label) = labels.iter().find(|label| !(0..classes as i64).contains(label)) {
            candle_core::bail!("label {label} of {classes} classes");
        }
        let loss = kernel(values(logits, logits_layout)?, labels, classes);
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        _loss: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad, labels) = (grad.to_scalar::<f32>()?, labels.to_vec1::<i64>()?);
        let (_, classes) = logits.dims2()?;
        let output = with_values(logits, |logits| gradient(logits, &labels, classes, grad))?;
        Ok((Some(Tensor::from_vec(output, logits.shape(), logits.device())?), None))
    }
}

vectorised! {
    fn log_normaliser(logits: &[f32]) -> f32 {
        let largest = largest(logits);
        sum(logits, logits, |logit, _| exp(logit - largest)).ln() + largest
    }
}

/// `-log softmax(logits)[label]`, summed over the rows.
fn kernel(logits: &[f32], labels: &[i64], classes: usize) -> f32 {
    let rows = by_row(labels.len(), 1, |i, output| {
        let logits = &logits[i * classes..(i + 1) * classes];
        output[0] = log_normaliser(logits) - logits[labels[i] as usize];
    });
    rows.into_iter().map(f64::from).sum::<f64>() as f32
}

/// `(softmax(logits) - one_hot(labels)) * grad`.
fn gradient(logits: &[f32], labels: &[i64], classes: usize, grad: f32) -> Vec<f32> {
    vectorised! {
        fn probabilities(logits: &[f32], factor: f32, output: &mut [f32]) {
            let largest = largest(logits);
            for (output, logit) in output.iter_mut().zip(logits) {
                *output = exp(logit - largest);
            }
            let scale = factor / sum(output, output, |value, _| value);
            for value in output.iter_mut() {
                *value *= scale;
            }
        }
    }
    by_row(logits.len(), classes, |i, output| {
        probabilities(&logits[i * classes..(i + 1) * classes], grad, output);
        output[labels[i] as usize] -= grad;
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_alike, variable};
    use super::*;
    use candle_core::Device;

    #[test]
    fn cross_entropy_is_its_composite() {
        let logits = variable(14, &[3, 37]);
        let labels = Tensor::new(&[36i64, 0, 5], &Device::Cpu).expect("labels");
        assert_alike(&[&logits], || fused(&logits, &labels), || composite(&logits, &labels));
        // Even logits: log of the number of classes.
        let even = Tensor::zeros((2, 8), candle_core::DType::F32, &Device::Cpu).expect("zeros");
        let labels = Tensor::new(&[1i64, 7], &Device::Cpu).expect("labels");
        let loss = fused(&even, &labels).and_then(|loss| loss.to_scalar::<f32>());
        assert!((loss.expect("a loss") - 2.0 * 8f32.ln()).abs() < 1e-5);
        let wrong = Tensor::new(&[1i64, 8], &Device::Cpu).expect("labels");
        assert!(fused(&even, &wrong).is_err());
    }
}
