//! Model files in ONNX Runtime, for agents that can load its shared library.

use std::path::{Path, PathBuf};

use atb_measurements::Protocol;
use atb_runtime::Inputs;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::Tensor;

use crate::machine::Model;

/// A loaded library. A process can load only one: the first one stays.
pub(crate) struct OnnxRuntime {
    library: PathBuf,
    environment: Environment,
}

impl OnnxRuntime {
    /// Loads the shared library `library`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn load(library: &Path) -> Result<Self, String> {
        let environment = ort::init_from(library)
            .map_err(|error| failed(library, &error))?
            .build()
            .map_err(|error| failed(library, &error))?;
        Ok(Self { library: library.to_owned(), environment })
    }

    /// Loads the model `file`, to run on the inputs that other engines get.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn open(
        &self,
        file: &Path,
        protocol: &Protocol,
        inputs: &Inputs,
    ) -> Result<OnnxRuntimeModel, String> {
        let open = || -> ort::Result<Session> {
            let builder = Session::builder(&self.environment)?;
            let mut builder = builder.with_intra_threads(protocol.threads)?;
            builder.commit_from_file(file)
        };
        let session = open().map_err(|error| failed(&self.library, &error))?;
        let shape = [protocol.workload.batch, protocol.workload.sequence];
        let tensor = |values: &[i64]| {
            Tensor::from_array((shape, values.to_vec()))
                .map_err(|error| failed(&self.library, &error))
        };
        Ok(OnnxRuntimeModel {
            library: self.library.clone(),
            session,
            input_ids: tensor(&inputs.input_ids)?,
            attention_mask: tensor(&inputs.attention_mask)?,
            token_type_ids: tensor(&inputs.token_type_ids)?,
        })
    }
}

/// A session with the inputs that it is timed on.
pub(crate) struct OnnxRuntimeModel {
    library: PathBuf,
    session: Session,
    input_ids: Tensor<i64>,
    attention_mask: Tensor<i64>,
    token_type_ids: Tensor<i64>,
}

impl Model for OnnxRuntimeModel {
    fn run(&mut self) -> Result<(), String> {
        let outputs = self
            .session
            .run(ort::inputs! {
                "input_ids" => &self.input_ids,
                "attention_mask" => &self.attention_mask,
                "token_type_ids" => &self.token_type_ids,
            })
            .map_err(|error| failed(&self.library, &error))?;
        std::hint::black_box(&outputs);
        Ok(())
    }
}

fn failed(library: &Path, problem: &dyn std::fmt::Display) -> String {
    format!("ONNX Runtime ({}): {problem}", library.display())
}
