//! rten, an engine with an ONNX reader of its own, that model files are compared with and timed
//! beside; for tests and benchmarks only.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use atb_interface::{Inputs, Output, Outputs};
use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};

/// Largest difference that counts as the same output: rten approximates exp and erf.
pub const TOLERANCE: f32 = 5e-4;

/// A loaded model.
pub struct RtenSession {
    model: Model,
    outputs: Vec<NodeId>,
    options: RunOptions,
}

/// Inputs as rten takes them.
pub struct Batch(Vec<(NodeId, Value)>);

impl RtenSession {
    /// Loads the model `file`, to run on `threads` threads.
    ///
    /// # Errors
    /// What rten says.
    pub fn open(file: &Path, threads: usize) -> Result<Self> {
        let model = Model::load_file(file)?;
        let pool = ThreadPool::with_num_threads(threads);
        let options = RunOptions::default().with_thread_pool(Some(Arc::new(pool)));
        Ok(Self { outputs: model.output_ids().to_vec(), model, options })
    }

    /// `inputs` of the given shape, `[batch, sequence]`, made ready to be run any number of
    /// times.
    ///
    /// # Errors
    /// If they are not of that shape, or the model has no such inputs.
    pub fn batch(&self, shape: [usize; 2], inputs: &Inputs) -> Result<Batch> {
        let value = |(name, values): (&str, &[i64])| {
            // rten reads token ids as 32-bit numbers.
            let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
            Ok((self.model.node_id(name)?, Value::from_shape(shape, values)?))
        };
        inputs.named().into_iter().map(value).collect::<Result<_>>().map(Batch)
    }

    /// Runs a batch, and nothing else: what is timed.
    ///
    /// # Errors
    /// What rten says.
    pub fn run(&self, batch: &Batch) -> Result<()> {
        std::hint::black_box(self.results(batch)?);
        Ok(())
    }

    /// Runs a batch and gives its outputs.
    ///
    /// # Errors
    /// What rten says, or if an output has no name or holds something other than f32.
    pub fn outputs(&self, batch: &Batch) -> Result<Outputs> {
        let output = |(id, value): (&NodeId, Value)| {
            let info = self.model.node_info(*id).context("no such output")?;
            let name = info.name().context("an output without a name")?.to_owned();
            let (shape, values) = match info.shape().map_or(0, |shape| shape.len()) {
                2 => shape_and_values::<2>(value)?,
                _ => shape_and_values::<3>(value)?,
            };
            Ok(Output { name, shape, values })
        };
        let results = self.results(batch)?;
        self.outputs.iter().zip(results).map(output).collect::<Result<_>>().map(Outputs)
    }

    fn results(&self, Batch(batch): &Batch) -> Result<Vec<Value>> {
        let inputs = batch.iter().map(|(id, value)| (*id, ValueOrView::from(value)));
        Ok(self.model.run(inputs.collect(), &self.outputs, Some(self.options.clone()))?)
    }
}

fn shape_and_values<const AXES: usize>(value: Value) -> Result<(Vec<usize>, Vec<f32>)> {
    let (shape, values) = value.into_shape_vec::<f32, AXES>()?;
    Ok((shape.to_vec(), values))
}
