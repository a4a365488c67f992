//! One loaded model, ready to run.

use std::path::Path;
use std::sync::Arc;

use tract_linalg::multithread::Executor;
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::model::TypedSimpleState;
use tract_onnx::tract_core::ops::matmul::optimized::OptMatMul;
use tract_onnx::tract_core::runtime::RunOptions;

/// Name and version of the inference engine behind a [`Session`].
pub const ENGINE: &str = "tract 0.23";

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SessionError {
    /// the model could not be loaded
    #[error("{model} could not be loaded: {problem}")]
    Load {
        /// The file, or what stands for it.
        model: String,
        /// What the engine says.
        problem: String,
    },
    /// not a model of this project
    #[error("{model} is not a model of this kind: {problem}; hint: export it with `atb export`")]
    Interface {
        /// The file, or what stands for it.
        model: String,
        /// What is missing.
        problem: String,
    },
    /// inputs of another size
    #[error("{name} has {found} values, the model takes {batch} sequences of {sequence} tokens")]
    InputLength {
        /// The input.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The model's batch.
        batch: usize,
        /// The model's sequence length.
        sequence: usize,
    },
    /// a token that the model does not know
    #[error("input_ids has the token {found}, the model knows 0..{words}")]
    UnknownToken {
        /// The token.
        found: i64,
        /// Entries of the word embeddings.
        words: usize,
    },
    /// the engine failed
    #[error("the model failed to run: {0}")]
    Run(String),
}

/// Token ids, mask and types of one batch, each row by row of `batch * sequence` values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Token ids.
    pub input_ids: Vec<i64>,
    /// One for tokens, zero for padding.
    pub attention_mask: Vec<i64>,
    /// Zero for the first text, one for the second.
    pub token_type_ids: Vec<i64>,
}

impl Inputs {
    /// A batch of tokens without padding, all of the first type.
    #[must_use]
    pub fn of_ids(input_ids: Vec<i64>) -> Self {
        let length = input_ids.len();
        Self { input_ids, attention_mask: vec![1; length], token_type_ids: vec![0; length] }
    }
}

/// What the model says about one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// `[batch, sequence, hidden]`, row by row.
    pub last_hidden_state: Vec<f32>,
    /// `[batch, hidden]`, row by row; absent for a model without a pooler.
    pub pooler_output: Option<Vec<f32>>,
}

/// The matrix kernel that an optimised model runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The engine's name for it.
    pub name: String,
    /// Rows and columns of its tile: sizes are rounded up to multiples of them.
    pub tile: (usize, usize),
}

/// What the engine knows of the processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// The kind that it tunes for, where it tells kinds apart (aarch64).
    pub kind: Option<String>,
    /// Instruction set extensions that its kernels may use, after the architecture itself.
    pub extensions: Vec<String>,
}

/// The processor as the engine sees it, its overrides in the environment included.
#[must_use]
pub fn processor() -> Processor {
    #[cfg(target_arch = "aarch64")]
    let kind = Some(format!("{:?}", tract_linalg::arm64::Kind::choose()));
    #[cfg(not(target_arch = "aarch64"))]
    let kind = None;
    let extensions = tract_linalg::isa::native().iter().map(|isa| isa.name().to_owned());
    Processor { kind, extensions: extensions.collect() }
}

/// A loaded, optimised model for one fixed batch and sequence length.
pub struct Session {
    state: TypedSimpleState,
    batch: usize,
    sequence: usize,
    words: Option<usize>,
}

impl Session {
    /// Loads the ONNX file `path`, to run on one thread.
    ///
    /// # Errors
    /// [`SessionError`] naming the file.
    pub fn open(path: &Path) -> Result<Self, SessionError> {
        Self::open_threaded(path, 1)
    }

    /// Loads the ONNX file `path`, to run on `threads` threads.
    ///
    /// # Errors
    /// [`SessionError`] naming the file.
    pub fn open_threaded(path: &Path, threads: usize) -> Result<Self, SessionError> {
        let name = path.display().to_string();
        if let Err(error) = std::fs::File::open(path) {
            return Err(SessionError::Load { model: name, problem: error.to_string() });
        }
        Self::load(&name, threads, || tract_onnx::onnx().model_for_path(path))
    }

    /// Loads ONNX bytes whose weights lie elsewhere: `data(offset, length)` is asked for
    /// the bytes of each tensor that is marked as external data at the location `.`.
    ///
    /// # Errors
    /// [`SessionError`] with `name` for the file's.
    pub fn with_external_data(
        name: &str,
        model: &[u8],
        threads: usize,
        data: impl Fn(usize, usize) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) -> Result<Self, SessionError> {
        Self::load(name, threads, || {
            let mut onnx = tract_onnx::onnx();
            onnx.provider = Arc::new(External(data));
            let proto = onnx.proto_model_for_read(&mut &*model)?;
            onnx.parse(&proto, Some(".")).map(|parsed| parsed.model)
        })
    }

    fn load(
        name: &str,
        threads: usize,
        read: impl FnOnce() -> TractResult<InferenceModel>,
    ) -> Result<Self, SessionError> {
        let load_error = |error: TractError| SessionError::Load {
            model: name.to_owned(),
            problem: format!("{error:#}"),
        };
        let interface_error =
            |problem: String| SessionError::Interface { model: name.to_owned(), problem };
        let model = read().map_err(load_error)?;
        let inputs: Vec<&str> =
            model.inputs.iter().map(|outlet| &*model.node(outlet.node).name).collect();
        if inputs != ["input_ids", "attention_mask", "token_type_ids"] {
            return Err(interface_error(format!(
                "its inputs are {}, not input_ids, attention_mask, token_type_ids",
                inputs.join(", ")
            )));
        }
        let fact = model.input_fact(0).map_err(load_error)?;
        let shape = fact.shape.as_concrete_finite().map_err(load_error)?;
        let Some([batch, sequence]) = shape.as_deref() else {
            return Err(interface_error(
                "its input_ids have no fixed batch and sequence length".to_owned(),
            ));
        };
        let (batch, sequence) = (*batch, *sequence);
        let words = word_embeddings(&model);
        let model = model.into_optimized().map_err(load_error)?;
        let options = RunOptions {
            executor: (threads > 1).then(|| Executor::multithread(threads)),
            ..RunOptions::default()
        };
        let plan = TypedSimplePlan::new_with_options(model, &options).map_err(load_error)?;
        let state = plan.spawn().map_err(load_error)?;
        Ok(Self { state, batch, sequence, words })
    }

    /// Sequences at a time.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tokens a sequence, padding included.
    #[must_use]
    pub fn sequence(&self) -> usize {
        self.sequence
    }

    /// Entries of the word embeddings, where the model shows them.
    #[must_use]
    pub fn words(&self) -> Option<usize> {
        self.words
    }

    /// The matrix kernel that the most work of this model runs on; `None` if it has no
    /// matrix product.
    #[must_use]
    pub fn kernel(&self) -> Option<Kernel> {
        let mut work: Vec<(Kernel, f64)> = Vec::new();
        for node in self.state.model().nodes() {
            let Some(product) = node.op_as::<OptMatMul>() else { continue };
            let Some(mmm) = product.mmm.first() else { continue };
            let kernel = Kernel { name: mmm.name().to_owned(), tile: (mmm.mr(), mmm.nr()) };
            let outputs: f64 = product
                .c_fact
                .shape
                .as_concrete()
                .map_or(0.0, |shape| shape.iter().map(|size| *size as f64).product());
            let depth = product.guess_k().and_then(|k| k.to_i64().ok()).unwrap_or(1) as f64;
            match work.iter_mut().find(|(known, _)| *known == kernel) {
                Some((_, sum)) => *sum += outputs * depth,
                None => work.push((kernel, outputs * depth)),
            }
        }
        work.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(kernel, _)| kernel)
    }

    /// Runs one batch.
    ///
    /// # Errors
    /// [`SessionError`] if an input has another length than the model takes, holds a token
    /// that the model does not know, or the engine fails.
    pub fn run(&mut self, inputs: &Inputs) -> Result<Outputs, SessionError> {
        self.check(inputs)?;
        let shape = [self.batch, self.sequence];
        let tensor = |values: &[i64]| Tensor::from_shape(&shape, values).map(Tensor::into_tvalue);
        let run_error = |error: TractError| SessionError::Run(format!("{error:#}"));
        let inputs = [&inputs.input_ids, &inputs.attention_mask, &inputs.token_type_ids]
            .into_iter()
            .map(|values| tensor(values))
            .collect::<TractResult<TVec<TValue>>>()
            .map_err(run_error)?;
        let outputs = self.state.run(inputs).map_err(run_error)?;
        let values = |index: usize| -> Result<Option<Vec<f32>>, SessionError> {
            let Some(output) = outputs.get(index) else { return Ok(None) };
            let view = output.to_plain_array_view::<f32>().map_err(run_error)?;
            Ok(Some(view.iter().copied().collect()))
        };
        let last_hidden_state =
            values(0)?.ok_or_else(|| SessionError::Run("it has no output".to_owned()))?;
        Ok(Outputs { last_hidden_state, pooler_output: values(1)? })
    }

    fn check(&self, inputs: &Inputs) -> Result<(), SessionError> {
        let (batch, sequence) = (self.batch, self.sequence);
        for (name, values) in [
            ("input_ids", &inputs.input_ids),
            ("attention_mask", &inputs.attention_mask),
            ("token_type_ids", &inputs.token_type_ids),
        ] {
            if values.len() != batch * sequence {
                let found = values.len();
                return Err(SessionError::InputLength { name, found, batch, sequence });
            }
        }
        let Some(words) = self.words else { return Ok(()) };
        let unknown = |id: &&i64| usize::try_from(**id).map_or(true, |id| id >= words);
        match inputs.input_ids.iter().find(unknown) {
            Some(found) => Err(SessionError::UnknownToken { found: *found, words }),
            None => Ok(()),
        }
    }
}

fn word_embeddings(model: &InferenceModel) -> Option<usize> {
    let node = model.node_by_name("embeddings.word_embeddings.weight").ok()?;
    let fact = model.outlet_fact(OutletId::new(node.id, 0)).ok()?;
    fact.shape.as_concrete_finite().ok()??.first().copied()
}

/// Serves external data from a closure instead of a file.
struct External<F>(F);

impl<F> ModelDataResolver for External<F>
where
    F: Fn(usize, usize) -> Result<Vec<u8>, String>,
{
    fn read_bytes_from_path(
        &self,
        buffer: &mut Vec<u8>,
        _path: &Path,
        offset: usize,
        length: Option<usize>,
    ) -> TractResult<()> {
        let length = length.ok_or_else(|| TractError::msg("external data without a length"))?;
        *buffer = (self.0)(offset, length).map_err(TractError::msg)?;
        Ok(())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("batch", &self.batch)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}
