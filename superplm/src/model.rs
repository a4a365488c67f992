//! The SuperPLM: a BERT of which any leading part is a model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use atb_checkpoint::{
    Axis, BertConfig, Checkpoint, CheckpointError, KD_PROJECTION, KD_PROJECTION_BIAS,
    MLM_TRANSFORM, WORD_EMBEDDINGS, shape,
};
use atb_interface::{Dense, HEADS, Head, Reads};
use atb_space::{Architecture, Cost};
use atb_text::{Encoded, Tokenizer};
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::PlmError;
use crate::bert::{self, Batch, Output};
use crate::embeddings::{EMBEDDINGS_FILE, TeacherEmbeddings};
use crate::ops::{Engine, slice};
use crate::parameters::{Linear, MlmHead, Parameters, check_fit};
use crate::task_head::TaskHead;

/// Standard deviation of fresh weights, BERT's `initializer_range`.
const INITIALIZER_RANGE: f32 = 0.02;

/// A BERT every dimension of which is elastic: any architecture that fits into its own,
/// which is the largest, runs on the leading part of its weights.
///
/// A sub-model takes the first `L` layers, the first `dm` of the hidden size everywhere
/// (embeddings, LayerNorm, all projections), the first `df` of the feed-forward block, the
/// first `h` heads, and of each of those heads the first `dq / h` rows.
pub struct SuperPlm {
    config: BertConfig,
    tokenizer: Tokenizer,
    tensors: BTreeMap<String, Stored>,
    has_pooler: bool,
    source: String,
    teacher_embeddings: Option<TeacherEmbeddings>,
    engine: Engine,
}

/// A whole parameter.
pub(crate) struct Stored {
    pub(crate) tensor: Tensor,
    pub(crate) axes: Vec<Axis>,
}

impl fmt::Debug for SuperPlm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuperPlm")
            .field("architecture", &self.config.architecture)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl SuperPlm {
    /// Loads a BERT folder: weights (`model.safetensors` or `pytorch_model.bin`, converted
    /// to f32), `config.json` and vocabulary.
    ///
    /// A folder without pooler loads too; the model's [`Output::pooled`] is then `None`.
    ///
    /// # Errors
    /// What [`Checkpoint::open`], [`Checkpoint::tensor`] and [`Tokenizer::from_folder`]
    /// report, among them [`Shape`](atb_checkpoint::CheckpointError::Shape) for a misshapen
    /// tensor and [`VocabularySize`](atb_checkpoint::CheckpointError::VocabularySize) if the
    /// vocabulary and `vocab_size` differ.
    pub fn load(folder: &Path) -> Result<Self, PlmError> {
        let plm = Self::of(&Checkpoint::open(folder)?, Tokenizer::from_folder(folder)?)?;
        let path = folder.join(EMBEDDINGS_FILE);
        if !path.is_file() {
            return Ok(plm);
        }
        let bytes = fs_err::read(&path).map_err(CheckpointError::from)?;
        Ok(plm.with_teacher_embeddings(TeacherEmbeddings::parse(&path, &bytes)?))
    }

    /// The same model with what it keeps of its teacher.
    #[must_use]
    pub fn with_teacher_embeddings(self, embeddings: TeacherEmbeddings) -> Self {
        Self { teacher_embeddings: Some(embeddings), ..self }
    }

    /// What it keeps of its teacher, if anything.
    #[must_use]
    pub fn teacher_embeddings(&self) -> Option<&TeacherEmbeddings> {
        self.teacher_embeddings.as_ref()
    }

    /// A model that the program carries: the contents of `config.json` and
    /// `model.safetensors`, and its vocabulary; `name` stands for its folder in messages.
    ///
    /// # Errors
    /// As [`SuperPlm::load`], but for what only files can have.
    pub fn embedded(
        name: &str,
        config: &str,
        weights: &'static [u8],
        tokenizer: Tokenizer,
    ) -> Result<Self, PlmError> {
        Self::of(&Checkpoint::embedded(name, config, weights)?, tokenizer)
    }

    fn of(checkpoint: &Checkpoint, tokenizer: Tokenizer) -> Result<Self, PlmError> {
        let config = checkpoint.config().clone();
        checkpoint.check_vocabulary(tokenizer.vocabulary_size())?;
        let has_pooler = checkpoint.has("pooler.dense.weight");
        let source = format!("sha256:{}", checkpoint.digest());
        let mut plm = Self::empty(config, tokenizer, has_pooler, source);
        plm.fill(|name, shape| stored(checkpoint, name, shape))?;
        plm.add_heads(checkpoint)?;
        if checkpoint.has(MLM_TRANSFORM) {
            plm.add_mlm_head(|name, shape| stored(checkpoint, name, shape))?;
        }
        Ok(plm)
    }

    fn empty(config: BertConfig, tokenizer: Tokenizer, has_pooler: bool, source: String) -> Self {
        let (tensors, engine) = (BTreeMap::new(), Engine::cpu());
        let teacher_embeddings = None;
        Self { config, tokenizer, tensors, has_pooler, source, teacher_embeddings, engine }
    }

    /// A smaller model that begins with this one's weights: the leading part of each size,
    /// of layers chosen evenly, the last among them.
    ///
    /// # Errors
    /// [`PlmError::DoesNotFit`] naming the size that is too large.
    pub fn shrink(&self, architecture: &Architecture) -> Result<Self, PlmError> {
        let (wanted, available) = (architecture.num_layers(), self.architecture().num_layers());
        if wanted > available {
            check_fit(self.architecture(), architecture)?;
        }
        let chosen: Vec<usize> =
            (1..=wanted).map(|i| (i * available).div_ceil(wanted) - 1).collect();
        self.cut(architecture, &chosen)
    }

    /// A sub-architecture as a model of its own, as [`extract`](crate::extract()) writes it:
    /// of the first layers.
    ///
    /// # Errors
    /// [`PlmError::DoesNotFit`] naming the size that is too large.
    pub fn part(&self, architecture: &Architecture) -> Result<Self, PlmError> {
        check_fit(self.architecture(), architecture)?;
        let first: Vec<usize> = (0..architecture.num_layers()).collect();
        self.cut(architecture, &first)
    }

    /// The leading part of each size, of the layers `chosen`.
    fn cut(&self, architecture: &Architecture, chosen: &[usize]) -> Result<Self, PlmError> {
        let whole = self.architecture();
        let picked = chosen.iter().map(|layer| whole.layers()[*layer]).collect();
        let picked = Architecture::new(whole.hidden(), picked)
            .map_err(|error| candle_core::Error::msg(error.to_string()))?;
        check_fit(&picked, architecture)?;

        let mut tensors = BTreeMap::new();
        let mut take = |name: &str, from: &str, axes: &[Axis]| {
            let tensor = slice(&self.tensors[from].tensor, axes, &picked, architecture)?;
            let stored = Stored { tensor: tensor.contiguous()?, axes: axes.to_vec() };
            tensors.insert(name.to_owned(), stored);
            Ok::<_, PlmError>(tensor)
        };
        Parameters::collect(chosen.len(), self.has_pooler, |name, axes| {
            let from = match name.strip_prefix("encoder.layer.").and_then(|n| n.split_once('.')) {
                Some((layer, rest)) => {
                    let layer = layer.parse().map_or(0, |layer: usize| chosen[layer]);
                    format!("encoder.layer.{layer}.{rest}")
                }
                None => name.to_owned(),
            };
            take(name, &from, axes)
        })?;
        for (name, stored) in self.heads() {
            take(name, name, &stored.axes)?;
        }
        Ok(Self {
            config: BertConfig { architecture: architecture.clone(), ..self.config.clone() },
            tokenizer: self.tokenizer.clone(),
            tensors,
            has_pooler: self.has_pooler,
            source: self.source.clone(),
            teacher_embeddings: None,
            engine: Engine::cpu(),
        })
    }

    /// An untrained model with BERT's initial weights (normal, standard deviation 0.02;
    /// LayerNorm the identity; biases zero), pooler included, which depend on the seed only.
    ///
    /// # Errors
    /// [`PlmError::Tensor`] if memory runs out.
    pub fn random(
        architecture: Architecture,
        tokenizer: Tokenizer,
        seed: u64,
    ) -> Result<Self, PlmError> {
        let config = BertConfig::new(architecture, tokenizer.vocabulary_size());
        let (vocabulary, positions) = (config.vocab_size, config.max_position_embeddings);
        Cost::check(&config.architecture, vocabulary, positions)?;
        let source = format!("random:{seed}");
        let mut plm = Self::empty(config, tokenizer, true, source);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        plm.fill(|name, shape| initial(name, shape, &mut rng))?;
        Ok(plm)
    }

    /// Adds an untrained projection to a teacher's hidden size, unless there is one: the
    /// identity on the dimensions that both have.
    pub(crate) fn ensure_kd_projection(&mut self, width: usize) -> Result<(), PlmError> {
        if self.tensors.contains_key(KD_PROJECTION) {
            return Ok(());
        }
        let hidden = self.architecture().hidden();
        let mut values = vec![0.0_f32; width * hidden];
        for value in values.iter_mut().step_by(hidden + 1).take(width.min(hidden)) {
            *value = 1.0;
        }
        let tensor = Tensor::from_vec(values, (width, hidden), &Device::Cpu)?;
        let axes = vec![Axis::Teacher(width), Axis::Hidden];
        self.tensors.insert(KD_PROJECTION.to_owned(), Stored { tensor, axes });
        Ok(())
    }

    /// Adds an untrained head of masked language modelling, unless there is one.
    pub(crate) fn ensure_mlm_head(&mut self, rng: &mut ChaCha8Rng) -> Result<(), PlmError> {
        if self.tensors.contains_key(MLM_TRANSFORM) {
            return Ok(());
        }
        self.add_mlm_head(|name, shape| initial(name, shape, rng))
    }

    /// Makes it a model for a task: one that ends in the task's head, which is a fresh one unless
    /// it has that already with the same labels, and has no other.
    ///
    /// Gives whether the head is fresh.
    pub(crate) fn end_in(
        &mut self,
        wanted: &TaskHead,
        rng: &mut ChaCha8Rng,
    ) -> Result<bool, PlmError> {
        let TaskHead { task, head, labels } = wanted;
        let class = head.task.map(|end| format!("Bert{end}"));
        let (dense, outputs) = (head.dense, wanted.outputs());
        let is_there = dense.is_some_and(|dense| {
            self.parameter(&dense.weight()).is_some_and(|weight| weight.dims()[0] == outputs)
        });
        let kept = is_there && self.config.class == class && self.config.labels == *labels;
        let others: Vec<String> = self.heads().map(|(name, _)| name.clone()).collect();
        let own = |name: &String| dense.is_some_and(|dense| dense.parameters().any(|p| p == *name));
        for name in others {
            if !(kept && own(&name)) {
                self.tensors.remove(&name);
            }
        }
        let pooled = head.reads == Reads::Pooled;
        if pooled != self.has_pooler {
            self.tensors.retain(|name, _| !name.starts_with("pooler."));
            self.has_pooler = pooled;
            if pooled {
                let Some(dense) = Head::POOLER.dense else { return Ok(!kept) };
                self.add_dense(&dense, Axis::Hidden, rng)?;
            }
        }
        if let Some(dense) = dense.filter(|_| !kept) {
            self.add_dense(&dense, Axis::Label(outputs), rng)?;
        }
        self.config.class = class;
        self.config.labels.clone_from(labels);
        self.config.task = Some(task.clone());
        Ok(!kept)
    }

    /// Adds an untrained linear layer of a head.
    fn add_dense(
        &mut self,
        dense: &Dense,
        outputs: Axis,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), PlmError> {
        for name in dense.parameters() {
            let axes = match name.ends_with("bias") {
                true => vec![outputs],
                false => vec![outputs, Axis::Hidden],
            };
            let tensor = initial(&name, &shape(&axes, &self.config), rng)?;
            self.tensors.insert(name, Stored { tensor, axes });
        }
        Ok(())
    }

    fn add_mlm_head(
        &mut self,
        mut source: impl FnMut(&str, &[usize]) -> Result<Tensor, PlmError>,
    ) -> Result<(), PlmError> {
        let Self { config, tensors, .. } = self;
        MlmHead::collect(|name, axes| {
            let tensor = source(name, &shape(axes, config))?;
            let stored = Stored { tensor: tensor.clone(), axes: axes.to_vec() };
            tensors.insert(name.to_owned(), stored);
            Ok::<_, PlmError>(tensor)
        })?;
        Ok(())
    }

    /// The parameters that are not the encoder's: those of the MLM head and of the heads of
    /// [`HEADS`](atb_interface::HEADS), the KD projection among them, where the model has them.
    fn heads(&self) -> impl Iterator<Item = (&String, &Stored)> {
        let of_a_head = |name: &str| {
            name.starts_with("cls.")
                || name == KD_PROJECTION_BIAS
                || denses().any(|dense| dense.parameters().any(|p| p == name))
        };
        self.tensors.iter().filter(move |(name, _)| of_a_head(name))
    }

    /// A whole parameter by its Hugging Face name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name).map(|stored| &stored.tensor)
    }

    /// Every whole parameter under its Hugging Face name.
    pub(crate) fn stored_mut(&mut self) -> impl Iterator<Item = (&String, &mut Stored)> {
        self.tensors.iter_mut()
    }

    fn fill(
        &mut self,
        mut source: impl FnMut(&str, &[usize]) -> Result<Tensor, PlmError>,
    ) -> Result<(), PlmError> {
        let Self { config, tensors, has_pooler, .. } = self;
        Parameters::collect(config.architecture.num_layers(), *has_pooler, |name, axes| {
            let tensor = source(name, &shape(axes, config))?;
            let stored = Stored { tensor: tensor.clone(), axes: axes.to_vec() };
            tensors.insert(name.to_owned(), stored);
            Ok::<_, PlmError>(tensor)
        })?;
        Ok(())
    }

    /// Takes up the heads that the checkpoint has, each as wide as its weight there.
    fn add_heads(&mut self, checkpoint: &Checkpoint) -> Result<(), PlmError> {
        for dense in denses() {
            let Some(found) = checkpoint.shape(&dense.weight()) else { continue };
            let width = Axis::Teacher(found.first().copied().unwrap_or(0));
            for (name, axes) in [
                (dense.weight(), vec![width, Axis::Hidden]),
                (format!("{}.bias", dense.module), vec![width]),
            ] {
                // The projection of some checkpoints has a bias, that of others has none.
                if !checkpoint.has(&name) && dense.bias().as_ref() != Some(&name) {
                    continue;
                }
                let tensor = stored(checkpoint, &name, &shape(&axes, &self.config))?;
                self.tensors.insert(name, Stored { tensor, axes });
            }
        }
        Ok(())
    }

    /// The whole model's architecture, the largest that it contains.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.config.architecture
    }

    /// The whole model's configuration.
    #[must_use]
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The tokenizer that belongs to its vocabulary.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Where the weights come from: `sha256:` and the weights file's digest, or `random:`
    /// and the seed.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same model, said to come from `source`.
    pub(crate) fn with_source(self, source: &str) -> Self {
        Self { source: source.to_owned(), ..self }
    }

    /// A copy that another engine runs, on its device.
    pub(crate) fn on(&self, engine: &Engine) -> Result<Self, PlmError> {
        let copy = |(name, stored): (&String, &Stored)| {
            let tensor = stored.tensor.to_device(engine.device())?;
            Ok((name.clone(), Stored { tensor, axes: stored.axes.clone() }))
        };
        Ok(Self {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            tensors: self.tensors.iter().map(copy).collect::<Result<_, PlmError>>()?,
            has_pooler: self.has_pooler,
            source: self.source.clone(),
            teacher_embeddings: self.teacher_embeddings.clone(),
            engine: engine.clone(),
        })
    }

    /// What runs it.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs a sub-architecture on a batch.
    ///
    /// # Errors
    /// [`PlmError::DoesNotFit`] naming the size that is too large, [`PlmError::Batch`] for
    /// a sequence longer than the position table or an id outside a table.
    pub fn forward(&self, arch: &Architecture, batch: &Encoded) -> Result<Output, PlmError> {
        check_fit(self.architecture(), arch)?;
        self.check_batch(batch)?;
        let parameters = Parameters::collect(arch.num_layers(), self.has_pooler, |name, axes| {
            let whole = &self.tensors[name].tensor;
            self.engine.share(whole, axes, self.architecture(), arch)
        })?;
        let batch = Batch::new(batch, self.engine.device())?;
        let eps = self.config.layer_norm_eps;
        Ok(bert::forward(&parameters, arch, eps, &batch, &self.engine)?)
    }

    /// The MLM head's share of a sub-architecture, and the decoder's weights.
    pub(crate) fn mlm_head(
        &self,
        arch: &Architecture,
    ) -> Result<Option<(MlmHead, Tensor)>, PlmError> {
        check_fit(self.architecture(), arch)?;
        if !self.tensors.contains_key(MLM_TRANSFORM) {
            return Ok(None);
        }
        let share = |name: &str, axes: &[Axis]| {
            slice(&self.tensors[name].tensor, axes, self.architecture(), arch)
        };
        let decoder = share(WORD_EMBEDDINGS, &[Axis::Vocabulary, Axis::Hidden])?;
        Ok(Some((MlmHead::collect(share)?, decoder)))
    }

    /// The KD projection's share of a sub-architecture: weight `[teacher's hidden, hidden]`,
    /// and a bias, of zeros where the model has none.
    pub fn kd_projection(&self, arch: &Architecture) -> Result<Option<Linear>, PlmError> {
        check_fit(self.architecture(), arch)?;
        let share = |name: &str| {
            let Some(stored) = self.tensors.get(name) else { return Ok(None) };
            slice(&stored.tensor, &stored.axes, self.architecture(), arch).map(Some)
        };
        let Some(weight) = share(KD_PROJECTION)? else { return Ok(None) };
        let bias = match share(KD_PROJECTION_BIAS)? {
            Some(bias) => bias,
            None => Tensor::zeros(weight.dim(0)?, DType::F32, weight.device())?,
        };
        Ok(Some(Linear { weight, bias }))
    }

    /// Every tensor of a sub-architecture under its Hugging Face name.
    pub(crate) fn tensors_of(
        &self,
        arch: &Architecture,
    ) -> Result<Vec<(String, Tensor)>, PlmError> {
        check_fit(self.architecture(), arch)?;
        let mut cut = Vec::new();
        Parameters::collect(arch.num_layers(), self.has_pooler, |name, axes| {
            let tensor = slice(&self.tensors[name].tensor, axes, self.architecture(), arch)?;
            cut.push((name.to_owned(), tensor.clone()));
            Ok::<_, PlmError>(tensor)
        })?;
        for (name, stored) in self.heads() {
            let tensor = slice(&stored.tensor, &stored.axes, self.architecture(), arch)?;
            cut.push((name.clone(), tensor));
        }
        Ok(cut)
    }

    /// Checks that a batch suits the model's tables.
    pub(crate) fn check_batch(&self, batch: &Encoded) -> Result<(), PlmError> {
        let check = |what, found: i64, limit: usize| {
            if (0..=limit as i64).contains(&found) {
                return Ok(());
            }
            Err(PlmError::Batch { what, found, limit: limit as i64 })
        };
        check("sequence length", batch.sequence as i64, self.config.max_position_embeddings)?;
        for id in &batch.input_ids {
            check("token id", *id, self.config.vocab_size - 1)?;
        }
        for id in &batch.token_type_ids {
            check("token type", *id, self.config.type_vocab_size - 1)?;
        }
        Ok(())
    }
}

/// A tensor of a checkpoint, which must have that shape.
fn stored(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Tensor, PlmError> {
    Ok(Tensor::from_vec(checkpoint.values(name, shape)?, shape, &Device::Cpu)?)
}

/// The linear layers of all heads but the pooler, which belongs to the encoder.
fn denses() -> impl Iterator<Item = Dense> {
    HEADS.iter().filter(|head| **head != Head::POOLER).filter_map(|head| head.dense)
}

/// BERT's initial values of a parameter.
fn initial(name: &str, shape: &[usize], rng: &mut ChaCha8Rng) -> Result<Tensor, PlmError> {
    let count = shape.iter().product();
    let values = if name.ends_with("LayerNorm.weight") {
        vec![1.0; count]
    } else if name.ends_with("bias") {
        vec![0.0; count]
    } else {
        let normal = Normal::new(0.0, INITIALIZER_RANGE)
            .map_err(|error| candle_core::Error::msg(error.to_string()))?;
        normal.sample_iter(rng).take(count).collect::<Vec<f32>>()
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
