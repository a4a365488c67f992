//! What a model's heads make of a batch, by their description in [`HEADS`].
//!
//! This is the reference that exported files are compared with.

use atb_interface::{Dense, HEADS, Head, Output, OutputSpec, Outputs, Reads};
use atb_text::Encoded;
use candle_core::{DType, Tensor};

use crate::{PlmError, SuperPlm};

type Result<T> = candle_core::Result<T>;

impl SuperPlm {
    /// Every output of every head that the whole model has the weights of.
    ///
    /// # Errors
    /// As [`SuperPlm::forward`].
    pub fn outputs(&self, batch: &Encoded) -> std::result::Result<Outputs, PlmError> {
        let output = self.forward(self.architecture(), batch)?;
        let mut outputs = Vec::new();
        for head in &HEADS {
            let input = match head.reads {
                Reads::States => Some(output.hidden.clone()),
                Reads::FirstState => Some(output.hidden.narrow(1, 0, 1)?.squeeze(1)?),
                Reads::MeanState => Some(mean(&output.hidden, batch)?),
                Reads::Pooled => output.pooled.clone(),
            };
            let result = match (input, head.dense) {
                // The encoder has computed it.
                (Some(_), Some(_)) if *head == Head::POOLER => output.pooled.clone(),
                (Some(input), Some(dense)) => self.linear(&input, &dense)?,
                (input, _) => input,
            };
            if let Some(result) = result {
                outputs.extend(columns(head.outputs, &result)?);
            }
        }
        Ok(Outputs(outputs))
    }

    /// A head's linear layer; `None` if the model has no such head.
    fn linear(&self, x: &Tensor, dense: &Dense) -> Result<Option<Tensor>> {
        let Some(weight) = self.parameter(&dense.weight()) else { return Ok(None) };
        let mut result = x.broadcast_matmul(&weight.t()?)?;
        if let Some(bias) = self.parameter(&format!("{}.bias", dense.module)) {
            result = result.broadcast_add(bias)?;
        }
        if dense.tanh { result.tanh().map(Some) } else { Ok(Some(result)) }
    }
}

/// The mean of the states of the tokens that are not padding, `[batch, hidden]`.
fn mean(states: &Tensor, batch: &Encoded) -> Result<Tensor> {
    let shape = (batch.batch, batch.sequence, 1);
    let mask = Tensor::from_slice(&batch.attention_mask, shape, states.device())?;
    let mask = mask.to_dtype(DType::F32)?;
    states.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)
}

/// A head's result as its one output, or each column of it as one.
fn columns(specs: &[OutputSpec], result: &Tensor) -> Result<Vec<Output>> {
    let read = |spec: &OutputSpec, tensor: &Tensor| {
        let (name, shape) = (spec.name.to_owned(), tensor.dims().to_vec());
        Ok(Output { name, shape, values: tensor.flatten_all()?.to_vec1()? })
    };
    if let [spec] = specs {
        return Ok(vec![read(spec, result)?]);
    }
    let last = result.rank() - 1;
    let column = |number| result.narrow(last, number, 1)?.squeeze(last);
    specs.iter().enumerate().map(|(number, spec)| read(spec, &column(number)?)).collect()
}
