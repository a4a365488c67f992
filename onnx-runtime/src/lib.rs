//! ONNX Runtime, loaded from a shared library at run time: the other engine that a model file
//! is compared with and timed in.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use atb_interface::Inputs;
//! use atb_onnx_runtime::OnnxRuntime;
//!
//! let runtime = OnnxRuntime::load(Path::new("libonnxruntime.so"))?;
//! let mut session = runtime.open(Path::new("bundle/model.onnx"), 1)?;
//! let batch = session.batch([1, 128], &Inputs::of_ids(vec![101; 128]))?;
//! println!("{:?}", session.outputs(&batch)?);
//! # Ok::<(), atb_onnx_runtime::OnnxRuntimeError>(())
//! ```

use std::fmt::Display;
use std::path::{Path, PathBuf};

use atb_interface::{Inputs, Output, Outputs};
use ort::environment::Environment;
use ort::session::{Session, SessionOutputs};
use ort::value::Tensor;

/// Why ONNX Runtime could not be loaded, or what it could not do.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("ONNX Runtime ({}): {problem}", library.display())]
#[expect(missing_docs, reason = "the message says it")]
pub struct OnnxRuntimeError {
    pub library: PathBuf,
    pub problem: String,
}

/// A loaded library. A process can load only one: the first one stays.
#[derive(Debug)]
pub struct OnnxRuntime {
    library: PathBuf,
    environment: Environment,
}

/// A loaded model.
#[derive(Debug)]
pub struct OnnxSession {
    library: PathBuf,
    session: Session,
}

/// Inputs as the library takes them.
#[derive(Debug)]
pub struct Batch(Vec<(&'static str, Tensor<i64>)>);

impl OnnxRuntime {
    /// Loads the shared library `library`.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] if it is none or of too old a version.
    pub fn load(library: &Path) -> Result<Self, OnnxRuntimeError> {
        let environment = ort::init_from(library)
            .map_err(|error| failed(library, &error))?
            .build()
            .map_err(|error| failed(library, &error))?;
        Ok(Self { library: library.to_owned(), environment })
    }

    /// Loads the model `file`, to run on `threads` threads.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] with what it says.
    pub fn open(&self, file: &Path, threads: usize) -> Result<OnnxSession, OnnxRuntimeError> {
        let open = || -> Result<Session, String> {
            let builder = Session::builder(&self.environment).map_err(text)?;
            let mut builder = builder.with_intra_threads(threads).map_err(text)?;
            builder.commit_from_file(file).map_err(text)
        };
        let session = open().map_err(|error| failed(&self.library, &error))?;
        Ok(OnnxSession { library: self.library.clone(), session })
    }
}

impl OnnxSession {
    /// `inputs` of the given shape, `[batch, sequence]`, made ready to be run any number of
    /// times.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] if they are not of that shape.
    pub fn batch(&self, shape: [usize; 2], inputs: &Inputs) -> Result<Batch, OnnxRuntimeError> {
        let tensor = |(name, values): (&'static str, &[i64])| {
            let tensor = Tensor::from_array((shape, values.to_vec()))
                .map_err(|error| failed(&self.library, &error))?;
            Ok((name, tensor))
        };
        inputs.named().into_iter().map(tensor).collect::<Result<_, _>>().map(Batch)
    }

    /// Runs a batch, and nothing else: what is timed.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] with what it says.
    pub fn run(&mut self, batch: &Batch) -> Result<(), OnnxRuntimeError> {
        std::hint::black_box(&self.results(batch)?);
        Ok(())
    }

    /// Runs a batch and gives its outputs.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] with what it says.
    pub fn outputs(&mut self, batch: &Batch) -> Result<Outputs, OnnxRuntimeError> {
        let library = self.library.clone();
        let results = self.results(batch)?;
        let output = |name: &str, value: &ort::value::DynValue| {
            let (shape, values) =
                value.try_extract_tensor::<f32>().map_err(|error| failed(&library, &error))?;
            let shape = shape.iter().map(|size| *size as usize).collect();
            Ok(Output { name: name.to_owned(), shape, values: values.to_vec() })
        };
        let outputs = results.iter().map(|(name, value)| output(name, &value));
        outputs.collect::<Result<_, _>>().map(Outputs)
    }

    fn results(&mut self, Batch(batch): &Batch) -> Result<SessionOutputs<'_>, OnnxRuntimeError> {
        let inputs: Vec<_> = batch.iter().map(|(name, tensor)| (*name, tensor)).collect();
        self.session.run(inputs).map_err(|error| failed(&self.library, &error))
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn failed(library: &Path, problem: &dyn Display) -> OnnxRuntimeError {
    OnnxRuntimeError { library: library.to_owned(), problem: problem.to_string() }
}
