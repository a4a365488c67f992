//! One loaded model, ready to run.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use atb_interface::{INPUT_IDS, INPUTS, Inputs, Output, OutputShape, Outputs, WORD_EMBEDDINGS};
use tract_linalg::multithread::Executor;
use tract_onnx::Onnx;
use tract_onnx::data_resolver::{self, ModelDataResolver};
use tract_onnx::model::ParseResult;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::model::TypedSimpleState;
use tract_onnx::tract_core::ops::matmul::optimized::OptMatMul;
use tract_onnx::tract_core::runtime::RunOptions;

use crate::bounds;
use crate::engine::{self, Engine, EnginePath};
use crate::guard::Guard;
use crate::optimise::optimised;
use crate::part;

/// Name and exact version of the inference engine behind a [`Session`]: kernels change from
/// one patch release to the next. The number of the fused encoder grows whenever its speed
/// changes.
pub const ENGINE: &str = "tract 0.23.9, fused encoder 3";

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SessionError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{model} could not be loaded: {problem}")]
    Load { model: String, problem: String },
    #[error("{model} is not a model of this kind: {problem}")]
    #[diagnostic(help("export it with `atb export`"))]
    Interface { model: String, problem: String },
    #[error("{name} has {found} values, the model takes {batch} sequences of {sequence} tokens")]
    InputLength { name: &'static str, found: usize, batch: usize, sequence: usize },
    #[error("{INPUT_IDS} has the token {found}, the model knows 0..{words}")]
    UnknownToken { found: i64, words: usize },
    #[error("{model} failed to run: {problem}")]
    Run { model: String, problem: String },
    #[error("{model}: the engine, {ENGINE}, panicked: {problem}")]
    #[diagnostic(help(
        "if `atb export` wrote the file, report this as a bug and attach it; otherwise export it again"
    ))]
    Panicked { model: String, problem: String },
    #[error("{model} has no output of the kind {wanted}; its outputs are {}", outputs.join(", "))]
    #[diagnostic(help("export the model with the head that gives it"))]
    NoOutput { model: String, wanted: &'static str, outputs: Vec<String> },
}

/// The matrix kernel that an optimised model runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The engine's name for it.
    pub name: String,
    /// Its tile: the outputs of weights are rounded up to multiples of the first number, tokens to
    /// multiples of the second.
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
    part::tell();
    #[cfg(target_arch = "aarch64")]
    let kind = Some(format!("{:?}", tract_linalg::arm64::Kind::choose()));
    #[cfg(not(target_arch = "aarch64"))]
    let kind = None;
    let extensions = tract_linalg::isa::native().iter().map(|isa| isa.name().to_owned());
    Processor { kind, extensions: extensions.collect() }
}

/// A loaded, optimised model for one fixed batch and sequence length.
///
/// A panic of the engine ends a call in [`SessionError::Panicked`]; not in a program built with
/// `panic = "abort"`, as the agent is, which it ends.
pub struct Session {
    name: String,
    state: TypedSimpleState,
    batch: usize,
    sequence: usize,
    words: Option<usize>,
    outputs: Vec<OutputShape>,
    path: EnginePath,
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
        Self::open_with(path, threads, Engine::default())
    }

    /// Loads the ONNX file `path`, to run on `threads` threads in the way `engine`.
    ///
    /// # Errors
    /// [`SessionError`] naming the file.
    pub fn open_with(path: &Path, threads: usize, engine: Engine) -> Result<Self, SessionError> {
        let name = path.display().to_string();
        // A pipe is not opened: it would have the program wait for whoever writes to it.
        if fs_err::metadata(path).is_ok_and(|there| !there.is_file()) {
            let problem = "it is not a regular file".to_owned();
            return Err(SessionError::Load { model: name, problem });
        }
        let model = fs_err::read(path)?;
        Self::load(&name, threads, engine, || {
            bounds::check_file(&model)?;
            // Read again where it lies, which takes less memory.
            drop(model);
            let onnx = reader(PlainFiles::default());
            let proto = onnx.proto_model_for_path(path)?;
            parsed(&onnx, &proto, path.parent().and_then(Path::to_str))
        })
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
        Self::load(name, threads, Engine::default(), || {
            read(&reader(External(data)), model, Some("."))
        })
    }

    /// Loads ONNX bytes that hold their weights themselves, to run on `threads` threads; no file
    /// is read, whatever the model names.
    ///
    /// # Errors
    /// [`SessionError`] with `name` for the file's.
    pub fn from_bytes(name: &str, model: &[u8], threads: usize) -> Result<Self, SessionError> {
        Self::load(name, threads, Engine::default(), || read(&reader(NoFiles), model, None))
    }

    /// Another session of the same model, for another thread: the weights are shared.
    ///
    /// # Errors
    /// [`SessionError::Load`] if the engine cannot.
    pub fn another(&self) -> Result<Self, SessionError> {
        guarded(&self.name, || {
            let state = self.state.plan().spawn().map_err(|error| SessionError::Load {
                model: self.name.clone(),
                problem: format!("{error:#}"),
            })?;
            let (name, outputs) = (self.name.clone(), self.outputs.clone());
            Ok(Self { name, state, outputs, ..*self })
        })
    }

    fn load(
        name: &str,
        threads: usize,
        engine: Engine,
        read: impl FnOnce() -> TractResult<InferenceModel>,
    ) -> Result<Self, SessionError> {
        guarded(name, || {
            part::tell();
            let load_error = |error: TractError| SessionError::Load {
                model: name.to_owned(),
                problem: format!("{error:#}"),
            };
            let model = read().map_err(load_error)?;
            let Interface { batch, sequence, outputs } = interface(name, &model)?;
            let words = word_embeddings(&model);
            let shape = [batch, sequence];
            let (model, path) =
                optimised(model, shape, engine, &outputs, threads).map_err(load_error)?;
            let outputs = output_shapes(name, outputs, &model)?;
            let options = RunOptions {
                // Layers of ours have threads of their own; what is left is too little to share.
                executor: (threads > 1 && path == EnginePath::Plain)
                    .then(|| Executor::multithread(threads)),
                ..RunOptions::default()
            };
            let plan = TypedSimplePlan::new_with_options(model, &options).map_err(load_error)?;
            let state = plan.spawn().map_err(load_error)?;
            Ok(Self { name: name.to_owned(), state, batch, sequence, words, outputs, path })
        })
    }

    /// Name and shape of every output, in order.
    #[must_use]
    pub fn outputs(&self) -> &[OutputShape] {
        &self.outputs
    }

    /// Sequences at a time.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tokens per sequence, padding included.
    #[must_use]
    pub fn sequence(&self) -> usize {
        self.sequence
    }

    /// Entries of the word embeddings, where the model shows them.
    #[must_use]
    pub fn words(&self) -> Option<usize> {
        self.words
    }

    /// What the model runs on.
    #[must_use]
    pub fn engine_path(&self) -> EnginePath {
        self.path
    }

    /// The matrix kernel that the most work of this model runs on; `None` if it has no
    /// matrix product.
    #[must_use]
    pub fn kernel(&self) -> Option<Kernel> {
        let mut work: Vec<(Kernel, f64)> = Vec::new();
        let mut add = |kernel: Kernel, more: f64| match work.iter_mut().find(|(k, _)| *k == kernel)
        {
            Some((_, sum)) => *sum += more,
            None => work.push((kernel, more)),
        };
        for node in self.state.model().nodes() {
            for (name, tile, more) in engine::kernels(node) {
                add(Kernel { name, tile }, more);
            }
            let Some(product) = node.op_as::<OptMatMul>() else { continue };
            let Some(mmm) = product.mmm.first() else { continue };
            let kernel = Kernel { name: mmm.name().to_owned(), tile: (mmm.mr(), mmm.nr()) };
            let outputs: f64 = product
                .c_fact
                .shape
                .as_concrete()
                .map_or(0.0, |shape| shape.iter().map(|size| *size as f64).product());
            let depth = product.guess_k().and_then(|k| k.to_i64().ok()).unwrap_or(1) as f64;
            add(kernel, outputs * depth);
        }
        work.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(kernel, _)| kernel)
    }

    /// Runs one batch. Padding is not computed: what outputs say of it is blank, as
    /// [`Outputs::blank_padding`] has it.
    ///
    /// # Errors
    /// [`SessionError`] if an input has another length than the model takes, holds a token
    /// that the model does not know, or the engine fails.
    pub fn run(&mut self, inputs: &Inputs) -> Result<Outputs, SessionError> {
        self.check(inputs)?;
        let shape = [self.batch, self.sequence];
        let Self { name, state, outputs, .. } = self;
        let mut run = || -> TractResult<Outputs> {
            let tensor =
                |values: &[i64]| Tensor::from_shape(&shape, values).map(Tensor::into_tvalue);
            let inputs = inputs.named().into_iter().map(|(_, values)| tensor(values));
            let results = state.run(inputs.collect::<TractResult<TVec<TValue>>>()?)?;
            let outputs = outputs.iter().zip(results).map(|(output, result)| {
                let OutputShape { name, shape } = output.clone();
                let values = result.to_plain_array_view::<f32>()?.iter().copied().collect();
                Ok(Output { name, shape, values })
            });
            outputs.collect::<TractResult<_>>().map(Outputs)
        };
        let mut done = guarded(name, || {
            run().map_err(|error| SessionError::Run {
                model: name.clone(),
                problem: format!("{error:#}"),
            })
        });
        if let Ok(outputs) = &mut done {
            outputs.blank_padding(&inputs.attention_mask);
        }
        if let Err(SessionError::Panicked { .. }) = done {
            // What the run was doing is lost; the next one begins with a state of its own.
            let plan = self.state.plan().clone();
            if let Ok(state) = plan.spawn() {
                self.state = state;
            }
        }
        done
    }

    /// That an output is not there.
    #[cfg(feature = "tokenizer")]
    pub(crate) fn no_output(&self, wanted: &'static str) -> SessionError {
        let outputs = self.outputs.iter().map(|output| output.name.clone()).collect();
        SessionError::NoOutput { model: self.name.clone(), wanted, outputs }
    }

    fn check(&self, inputs: &Inputs) -> Result<(), SessionError> {
        let (batch, sequence) = (self.batch, self.sequence);
        for (name, values) in inputs.named() {
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

/// Most sequences at a time and most tokens of one, as they can be exported.
const MAX_BATCH: usize = 1_024;
const MAX_SEQUENCE: usize = 8_192;

/// What a model takes and gives.
struct Interface {
    batch: usize,
    sequence: usize,
    outputs: Vec<String>,
}

/// Reads what `model` takes and gives, and refuses one that is no encoder of fixed size.
fn interface(name: &str, model: &InferenceModel) -> Result<Interface, SessionError> {
    let refused = |problem: String| SessionError::Interface { model: name.to_owned(), problem };
    let names: Vec<&str> =
        model.inputs.iter().map(|outlet| &*model.node(outlet.node).name).collect();
    if names != INPUTS {
        return Err(refused(format!(
            "its inputs are {}, not {}",
            names.join(", "),
            INPUTS.join(", ")
        )));
    }
    let concrete = |fact: TractResult<&InferenceFact>| -> Option<Vec<usize>> {
        let shape = fact.ok()?.shape.as_concrete_finite().ok()??;
        Some(shape.to_vec())
    };
    let shape = concrete(model.input_fact(0));
    let Some(&[batch, sequence]) = shape.as_deref() else {
        return Err(refused(format!("its {INPUT_IDS} have no fixed batch and sequence length")));
    };
    // Memory of a run is made for these.
    if !(1..=MAX_BATCH).contains(&batch) || !(1..=MAX_SEQUENCE).contains(&sequence) {
        return Err(refused(format!(
            "it takes {batch} sequences of {sequence} tokens, not 1 to {MAX_BATCH} of 1 to \
             {MAX_SEQUENCE}"
        )));
    }
    if model.outputs.is_empty() {
        return Err(refused("it has no output".to_owned()));
    }
    let outputs = model.outputs.iter().map(|outlet| {
        model.outlet_label(*outlet).unwrap_or(&model.node(outlet.node).name).to_owned()
    });
    let outputs = outputs.collect();
    Ok(Interface { batch, sequence, outputs })
}

/// The shapes of the outputs of these names; they are known once the model is typed.
fn output_shapes(
    model: &str,
    names: Vec<String>,
    typed: &TypedModel,
) -> Result<Vec<OutputShape>, SessionError> {
    let shaped = |(number, name): (usize, String)| {
        let fact = typed.output_fact(number).ok();
        match fact.and_then(|fact| fact.shape.as_concrete()) {
            Some(shape) => Ok(OutputShape { name, shape: shape.to_vec() }),
            None => Err(SessionError::Interface {
                model: model.to_owned(),
                problem: format!("its output {name} has no fixed shape"),
            }),
        }
    };
    names.into_iter().enumerate().map(shaped).collect()
}

/// Runs `work`; a panic in it is an error that names the model.
fn guarded<T>(
    model: &str,
    work: impl FnOnce() -> Result<T, SessionError>,
) -> Result<T, SessionError> {
    let _guard = Guard::begin();
    // What a panic leaves half done is dropped or made again by the callers.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let problem = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "without a message".to_owned());
        Err(SessionError::Panicked { model: model.to_owned(), problem })
    })
}

fn word_embeddings(model: &InferenceModel) -> Option<usize> {
    let node = model.node_by_name(WORD_EMBEDDINGS).ok()?;
    let fact = model.outlet_fact(OutletId::new(node.id, 0)).ok()?;
    fact.shape.as_concrete_finite().ok()??.first().copied()
}

/// The engine's reader, with external data from `provider`.
fn reader(provider: impl ModelDataResolver + Send + Sync + 'static) -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.provider = Arc::new(provider);
    onnx
}

/// Reads ONNX bytes; external data lies in `folder`.
fn read(onnx: &Onnx, model: &[u8], folder: Option<&str>) -> TractResult<InferenceModel> {
    bounds::check_file(model)?;
    let proto = onnx.proto_model_for_read(&mut &*model)?;
    parsed(onnx, &proto, folder)
}

fn parsed(onnx: &Onnx, proto: &ModelProto, folder: Option<&str>) -> TractResult<InferenceModel> {
    let ParseResult { model, unresolved_inputs, .. } = onnx.parse(proto, folder)?;
    match unresolved_inputs.first() {
        Some(name) => Err(TractError::msg(format!("nothing in it gives `{name}`"))),
        None => Ok(model),
    }
}

/// Serves external data from regular files. A pipe, say, could have the reader wait for ever.
#[derive(Default)]
struct PlainFiles {
    /// Bytes that were taken of each so far.
    taken: Mutex<HashMap<PathBuf, u64>>,
}

impl ModelDataResolver for PlainFiles {
    fn read_bytes_from_path(
        &self,
        buffer: &mut Vec<u8>,
        path: &Path,
        offset: usize,
        length: Option<usize>,
    ) -> TractResult<()> {
        if !path.is_file() {
            let problem = format!("its external data {} is not a regular file", path.display());
            return Err(TractError::msg(problem));
        }
        let size = fs_err::metadata(path)?.len();
        let end = size.saturating_sub(offset as u64);
        let wanted = length.map_or(end, |length| end.min(length as u64));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken.entry(path.to_owned()).or_default();
        *taken = taken.saturating_add(wanted);
        // Two tensors may be the same bytes; more would let a small file become a large model.
        if *taken > size.saturating_mul(2) {
            let problem = format!("it takes {} several times", path.display());
            return Err(TractError::msg(problem));
        }
        data_resolver::default().read_bytes_from_path(buffer, path, offset, length)
    }
}

/// Refuses external data.
struct NoFiles;

impl ModelDataResolver for NoFiles {
    fn read_bytes_from_path(
        &self,
        _: &mut Vec<u8>,
        path: &Path,
        _: usize,
        _: Option<usize>,
    ) -> TractResult<()> {
        let path = path.display();
        Err(TractError::msg(format!("its weights lie in another file, {path}, which is not read")))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_s_version_is_the_one_that_is_built_in() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        let lock: toml::Table =
            fs_err::read_to_string(lock).expect("reads").parse().expect("a TOML file");
        let packages = lock["package"].as_array().expect("packages");
        for name in ["tract-core", "tract-linalg", "tract-onnx"] {
            let versions: Vec<&str> = packages
                .iter()
                .filter(|package| package["name"].as_str() == Some(name))
                .filter_map(|package| package["version"].as_str())
                .collect();
            let tract = ENGINE.split(',').next().expect("tract comes first");
            assert_eq!(versions, [tract.trim_start_matches("tract ")], "{name}");
        }
    }

    #[test]
    fn a_panic_is_an_error_that_names_the_model() {
        let error = guarded::<()>("model.onnx", || panic!("no kernel for {}", 3))
            .expect_err("panicked")
            .to_string();
        assert_eq!(error, format!("model.onnx: the engine, {ENGINE}, panicked: no kernel for 3"));
    }
}
