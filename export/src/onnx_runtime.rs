//! ONNX Runtime, loaded from a shared library at run time.

use std::path::{Path, PathBuf};

use atb_runtime::{Inputs, Outputs};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::Tensor;

use crate::ExportError;

/// A loaded ONNX Runtime library. A process can load only one: the first one stays.
#[derive(Debug)]
pub struct OnnxRuntime {
    library: PathBuf,
    environment: Environment,
}

impl OnnxRuntime {
    /// Loads the shared library `library`.
    ///
    /// # Errors
    /// [`ExportError::OnnxRuntime`] if it is none or of too old a version.
    pub fn load(library: &Path) -> Result<Self, ExportError> {
        let environment = ort::init_from(library)
            .map_err(|error| failed(library, &error))?
            .build()
            .map_err(|error| failed(library, &error))?;
        Ok(Self { library: library.to_owned(), environment })
    }

    /// Runs the model `file` on `inputs` of the given shape, on one thread.
    ///
    /// # Errors
    /// [`ExportError::OnnxRuntime`] with what it says.
    pub fn run(
        &self,
        file: &Path,
        batch: usize,
        sequence: usize,
        inputs: &[Inputs],
    ) -> Result<Vec<Outputs>, ExportError> {
        let mut session = self.session(file)?;
        inputs
            .iter()
            .map(|inputs| {
                let tensor = |values: &[i64]| {
                    Tensor::from_array(([batch, sequence], values.to_vec()))
                        .map_err(|error| self.error(&error))
                };
                let outputs = session
                    .run(ort::inputs! {
                        "input_ids" => tensor(&inputs.input_ids)?,
                        "attention_mask" => tensor(&inputs.attention_mask)?,
                        "token_type_ids" => tensor(&inputs.token_type_ids)?,
                    })
                    .map_err(|error| self.error(&error))?;
                let values = |name: &str| match outputs.get(name) {
                    None => Ok(None),
                    Some(value) => value
                        .try_extract_tensor::<f32>()
                        .map(|(_, values)| Some(values.to_vec()))
                        .map_err(|error| self.error(&error)),
                };
                let last_hidden_state = values("last_hidden_state")?
                    .ok_or_else(|| self.error(&"the model has no last_hidden_state"))?;
                Ok(Outputs { last_hidden_state, pooler_output: values("pooler_output")? })
            })
            .collect()
    }

    fn session(&self, file: &Path) -> Result<Session, ExportError> {
        let mut builder = Session::builder(&self.environment)
            .map_err(|error| self.error(&error))?
            .with_intra_threads(1)
            .map_err(|error| self.error(&error))?;
        builder.commit_from_file(file).map_err(|error| self.error(&error))
    }

    fn error(&self, problem: &dyn std::fmt::Display) -> ExportError {
        failed(&self.library, problem)
    }
}

fn failed(library: &Path, problem: &dyn std::fmt::Display) -> ExportError {
    ExportError::OnnxRuntime { library: library.to_owned(), problem: problem.to_string() }
}
