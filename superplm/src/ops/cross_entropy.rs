//! The loss of masked language modelling as one operation: the softmax over the
//! vocabulary is large, and never needed but for its gradient.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{kernel, last_axis, slice, values};

/// The sum over the rows of `-log softmax(logits)[label]`, a scalar: `logits` is `[rows,
/// classes]`, `labels` (i64) `[rows]`.
pub(super) fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
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
        let loss = kernel::cross_entropy(values(logits, logits_layout)?, labels, classes);
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
        let output = super::with_values(logits, |logits| {
            kernel::cross_entropy_gradient(logits, &labels, classes, grad)
        })?;
        Ok((Some(Tensor::from_vec(output, logits.shape(), logits.device())?), None))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_alike, variable};
    use super::*;
    use candle_core::Device;

    #[test]
    fn cross_entropy_is_its_composite() {
        let logits = variable(14, &[3, 37]);
        let labels = Tensor::new(&[36i64, 0, 5], &Device::Cpu).expect("labels");
        assert_alike(
            &[&logits],
            || cross_entropy(&logits, &labels),
            || super::super::composite::cross_entropy(&logits, &labels),
        );
        // Even logits: log of the number of classes.
        let even = Tensor::zeros((2, 8), candle_core::DType::F32, &Device::Cpu).expect("zeros");
        let labels = Tensor::new(&[1i64, 7], &Device::Cpu).expect("labels");
        let loss = cross_entropy(&even, &labels).and_then(|loss| loss.to_scalar::<f32>());
        assert!((loss.expect("a loss") - 2.0 * 8f32.ln()).abs() < 1e-5);
        let wrong = Tensor::new(&[1i64, 8], &Device::Cpu).expect("labels");
        assert!(cross_entropy(&even, &wrong).is_err());
    }
}
