//! `config.json` of a BERT folder, as Hugging Face writes it, with the q|k|v size.
//!
//! Three keys go beyond what `transformers` knows; it keeps them as attributes:
//!
//! - `qkv_size`: total width of each of q, k and v, where that is not the hidden size.
//!   The released AutoTinyBERT checkpoints have it.
//! - `autotinybert.architecture`: the architecture in the notation `L-dm-df-h-dq`, with
//!   lists where layers differ. It counts where it stands; the plain keys then hold the
//!   largest value of all layers.
//! - `autotinybert.source`: what the weights were cut from (`sha256:` and the digest of
//!   that weights file, or `random:` and the seed).

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::Path;

use atb_files::without_byte_order_mark;
use atb_space::{Architecture, Layer};
use serde_json::{Map, Value, json};

use crate::CheckpointError;

/// Name of the file in a model folder.
pub const CONFIG_FILE: &str = "config.json";

/// Total width of each of q, k and v.
const QKV_SIZE: &str = "qkv_size";

/// The kind of model that Hugging Face builds.
const MODEL_TYPE: &str = "model_type";
const BERT: &str = "bert";
const ELECTRA: &str = "electra";

/// Width of the embeddings, which an ELECTRA's configuration states.
const EMBEDDING_SIZE: &str = "embedding_size";

/// Classes that Hugging Face loads the model as.
const CLASS: &str = "architectures";

/// Names of the labels, by their numbers as text.
const LABELS: &str = "id2label";

/// The task that the model was fine-tuned on.
const TASK: &str = "finetuning_task";

/// Version of the `autotinybert` object that this crate writes, and the newest it reads.
const SCHEMA_VERSION: u64 = 1;

/// Bytes of a `config.json`; those in the wild have a few thousand.
const MAX_FILE: u64 = 1 << 20;

/// Each size's largest value. None is near what a BERT has; sizes within them can be
/// multiplied and added up without overflow.
const MAX_LAYERS: usize = Architecture::MAX_LAYERS;
const MAX_SIZE: usize = Architecture::MAX_SIZE;
const MAX_VOCABULARY: usize = 1 << 24;

/// What may be added to the variance in LayerNorm: above zero as f32, and small beside one.
const EPSILONS: RangeInclusive<f64> = 1e-20..=0.1;

/// The configuration of a BERT: its architecture, and the sizes of its embedding tables.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// Hidden size, and shape of every layer.
    pub architecture: Architecture,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Number of token types (2: first and second text).
    pub type_vocab_size: usize,
    /// Added to the variance in LayerNorm.
    pub layer_norm_eps: f64,
    /// Hugging Face's class of the model (`BertForSequenceClassification`), where the file
    /// names one.
    pub class: Option<String>,
    /// Names of the labels that a classification head tells apart, in the order of its
    /// outputs; empty where the file has none.
    pub labels: Vec<String>,
    /// The name of the task that the model was fine-tuned on, where the file has one.
    pub task: Option<String>,
    /// What the weights were cut from, in an extracted folder.
    pub source: Option<String>,
}

impl BertConfig {
    /// A configuration with BERT's usual tables: 512 positions, 2 token types, LayerNorm
    /// epsilon 1e-12.
    #[must_use]
    pub fn new(architecture: Architecture, vocab_size: usize) -> Self {
        Self {
            architecture,
            vocab_size,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            class: Some("BertModel".to_owned()),
            labels: Vec::new(),
            task: None,
            source: None,
        }
    }

    /// Reads `config.json` of a model folder.
    ///
    /// Keys it does not know are passed over, as Hugging Face files are full of them.
    /// `type_vocab_size`, `layer_norm_eps` and `hidden_act` may be missing and then have
    /// BERT's values.
    ///
    /// # Errors
    /// [`CheckpointError::NoConfig`], [`CheckpointError::Io`], [`CheckpointError::Json`], and [`CheckpointError::ConfigKey`] for a key that
    /// is missing, mistyped, or asks for something other than a BERT encoder with GELU
    /// and absolute positions. An ELECTRA discriminator is one, if its embeddings are as
    /// wide as its hidden states.
    pub fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(CONFIG_FILE);
        let metadata = match fs_err::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(CheckpointError::NoConfig { folder: folder.to_owned() });
            }
            metadata => metadata?,
        };
        let message = match metadata.len() {
            _ if !metadata.is_file() => Some("it is not a regular file".to_owned()),
            length if length > MAX_FILE => {
                Some(format!("the file is larger than {} MiB", MAX_FILE >> 20))
            }
            _ => None,
        };
        if let Some(message) = message {
            return Err(CheckpointError::Json { path, message });
        }
        let bytes = fs_err::read(&path)?;
        Self::parse(&path, &bytes)
    }

    /// As [`BertConfig::read`], from the content of the file; `path` stands for it in
    /// messages.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let bytes = without_byte_order_mark(bytes);
        let map: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
            CheckpointError::Json { path: path.to_owned(), message: error.to_string() }
        })?;
        Keys { path, map: &map }.config()
    }

    /// The task that the model was fine-tuned on, if it is another than the one called `task`.
    /// Names go by their letters and digits: `sst2` is `SST-2`.
    #[must_use]
    pub fn other_task(&self, task: &str) -> Option<&str> {
        let plain = |name: &str| {
            name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
        };
        self.task.as_deref().filter(|own| plain(own) != plain(task))
    }

    /// The content of a `config.json` that [`BertConfig::read`] reads back, and that
    /// `transformers` takes for a `BertModel` if q|k|v is as wide as the hidden size and
    /// all layers are alike (its BERT knows no others). Of an ELECTRA it remains one.
    #[must_use]
    pub fn to_json(&self) -> String {
        let arch = &self.architecture;
        let mut config = json!({
            MODEL_TYPE: BERT,
            "hidden_act": "gelu",
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "type_vocab_size": self.type_vocab_size,
            "layer_norm_eps": self.layer_norm_eps,
            "position_embedding_type": "absolute",
            "attention_probs_dropout_prob": 0.1,
            "hidden_dropout_prob": 0.1,
            "initializer_range": 0.02,
            "pad_token_id": 0,
            "autotinybert": {
                "schema_version": SCHEMA_VERSION,
                "architecture": arch.id(),
            },
        });
        for (key, size) in plain_sizes(arch) {
            if key != QKV_SIZE || size != arch.hidden() {
                config[key] = json!(size);
            }
        }
        if let Some(class) = &self.class {
            config[CLASS] = json!([class]);
            // Its heads are not those of the BERT classes; Hugging Face has one for the other.
            if class.starts_with("Electra") {
                config[MODEL_TYPE] = json!(ELECTRA);
                config[EMBEDDING_SIZE] = json!(arch.hidden());
            }
        }
        if !self.labels.is_empty() {
            let labels = || self.labels.iter().enumerate();
            config[LABELS] = labels().map(|(id, label)| (id.to_string(), json!(label))).collect();
            config["label2id"] = labels().map(|(id, label)| (label.clone(), json!(id))).collect();
        }
        if let Some(task) = &self.task {
            config[TASK] = json!(task);
        }
        if let Some(source) = &self.source {
            config["autotinybert"]["source"] = json!(source);
        }
        format!("{config:#}\n")
    }
}

/// An architecture in the keys that other tools know, those of its layers at their largest.
fn plain_sizes(arch: &Architecture) -> [(&'static str, usize); 5] {
    let largest = |size: fn(&Layer) -> usize| arch.layers().iter().map(size).max().unwrap_or(0);
    [
        ("hidden_size", arch.hidden()),
        ("num_hidden_layers", arch.num_layers()),
        ("num_attention_heads", largest(|layer| layer.heads)),
        ("intermediate_size", largest(|layer| layer.intermediate)),
        (QKV_SIZE, largest(|layer| layer.qkv)),
    ]
}

/// Access to the keys of one file, with errors that name both.
struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn config(&self) -> Result<BertConfig, CheckpointError> {
        self.only(MODEL_TYPE, &[BERT, ELECTRA])?;
        self.only("hidden_act", &["gelu"])?;
        self.only("position_embedding_type", &["absolute"])?;
        let hidden = self.required("hidden_size", MAX_SIZE)?;
        if let Some(size) = self.size(EMBEDDING_SIZE, MAX_SIZE)?
            && size != hidden
        {
            let problem = format!(
                "is {size}, not the hidden size {hidden}; embeddings of a size of their own, as \
                 ELECTRA-small has them, are not supported"
            );
            let help = "ELECTRA-base and ELECTRA-large are supported";
            return Err(self.problem_with_help(EMBEDDING_SIZE, problem, Some(help)));
        }
        let layers = self.required("num_hidden_layers", MAX_LAYERS)?;
        let layer = Layer {
            intermediate: self.required("intermediate_size", MAX_SIZE)?,
            heads: self.required("num_attention_heads", MAX_SIZE)?,
            qkv: self.size(QKV_SIZE, MAX_SIZE)?.unwrap_or(hidden),
        };
        let (id, source) = self.extension()?;
        let architecture = match id {
            Some(architecture) => {
                let sizes = plain_sizes(&architecture);
                let found = [hidden, layers, layer.heads, layer.intermediate, layer.qkv];
                for ((key, size), found) in sizes.into_iter().zip(found) {
                    if size != found {
                        let problem = format!(
                            "has the architecture {architecture}, whose {key} is {size}, but \
                             the file's {key} is {found}"
                        );
                        return Err(self.problem("autotinybert", problem));
                    }
                }
                architecture
            }
            None => Architecture::uniform(layers, hidden, layer).map_err(|error| {
                self.problem("num_attention_heads", format!("is wrong: {error}"))
            })?,
        };
        Ok(BertConfig {
            architecture,
            vocab_size: self.required("vocab_size", MAX_VOCABULARY)?,
            max_position_embeddings: self.required("max_position_embeddings", MAX_SIZE)?,
            type_vocab_size: self.size("type_vocab_size", MAX_SIZE)?.unwrap_or(2),
            layer_norm_eps: self.epsilon("layer_norm_eps")?.unwrap_or(1e-12),
            class: self.class()?,
            labels: self.labels()?,
            task: self.task()?,
            source,
        })
    }

    fn problem(&self, key: &'static str, problem: String) -> CheckpointError {
        self.problem_with_help(key, problem, None)
    }

    fn problem_with_help(
        &self,
        key: &'static str,
        problem: String,
        help: Option<&'static str>,
    ) -> CheckpointError {
        CheckpointError::ConfigKey { path: self.path.to_owned(), key, problem, help }
    }

    /// Refuses any other value than those that this crate computes.
    fn only(&self, key: &'static str, values: &[&str]) -> Result<(), CheckpointError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(found)) if values.contains(&found.as_str()) => Ok(()),
            Some(found) => {
                let quoted: Vec<String> = values.iter().map(|v| format!("\"{v}\"")).collect();
                let (which, be) =
                    (quoted.join(" and "), if values.len() == 1 { "is" } else { "are" });
                Err(self.problem(key, format!("is {found}; only {which} {be} supported")))
            }
        }
    }

    fn size(&self, key: &'static str, largest: usize) -> Result<Option<usize>, CheckpointError> {
        let Some(value) = self.map.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match value.as_u64().map(usize::try_from) {
            Some(Ok(size)) if (1..=largest).contains(&size) => Ok(Some(size)),
            Some(Ok(1..) | Err(_)) => {
                Err(self.problem(key, format!("is {value}, expected at most {largest}")))
            }
            _ => Err(self.problem(key, format!("is {value}, expected a whole number above 0"))),
        }
    }

    fn required(&self, key: &'static str, largest: usize) -> Result<usize, CheckpointError> {
        self.size(key, largest)?.ok_or_else(|| {
            self.problem(key, "is missing, expected a whole number above 0".to_owned())
        })
    }

    fn epsilon(&self, key: &'static str) -> Result<Option<f64>, CheckpointError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if EPSILONS.contains(&number) => Ok(Some(number)),
                _ => {
                    let (least, most) = (EPSILONS.start(), EPSILONS.end());
                    let expected = format!("expected a number from {least:e} to {most}");
                    Err(self.problem(key, format!("is {value}, {expected}")))
                }
            },
        }
    }

    /// The first of `architectures`; files have one.
    fn class(&self) -> Result<Option<String>, CheckpointError> {
        match self.map.get(CLASS).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(Value::Array(classes)) if classes.is_empty() => Ok(None),
            Some(classes) => match classes[0].as_str() {
                Some(class) => Ok(Some(class.to_owned())),
                None => Err(self.problem(CLASS, format!("is {classes}, expected a list of names"))),
            },
        }
    }

    fn task(&self) -> Result<Option<String>, CheckpointError> {
        match self.map.get(TASK).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(Value::String(task)) => Ok(Some(task.clone())),
            Some(found) => {
                Err(self.problem(TASK, format!("is {found}, expected the name of a task")))
            }
        }
    }

    fn labels(&self) -> Result<Vec<String>, CheckpointError> {
        let Some(value) = self.map.get(LABELS).filter(|value| !value.is_null()) else {
            return Ok(Vec::new());
        };
        let count = value.as_object().map_or(0, Map::len);
        (0..count)
            .map(|id| value[&id.to_string()].as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .filter(|_| value.is_object())
            .ok_or_else(|| {
                let expected = "expected a name for each of the numbers from \"0\"";
                self.problem(LABELS, format!("is {value}, {expected}"))
            })
    }

    /// Architecture and source of the `autotinybert` object, where it stands.
    fn extension(&self) -> Result<(Option<Architecture>, Option<String>), CheckpointError> {
        const KEY: &str = "autotinybert";
        let Some(object) = self.map.get(KEY) else {
            return Ok((None, None));
        };
        match object["schema_version"].as_u64() {
            Some(version) if version <= SCHEMA_VERSION => {}
            Some(version) => {
                let problem = format!(
                    "has schema version {version}, newer than the {SCHEMA_VERSION} that this \
                     version reads"
                );
                return Err(self.problem_with_help(KEY, problem, Some("update autotinybert")));
            }
            None => return Err(self.problem(KEY, "has no `schema_version`".to_owned())),
        }
        let id = object["architecture"]
            .as_str()
            .ok_or_else(|| self.problem(KEY, "has no text `architecture`".to_owned()))?;
        let architecture = id.parse().map_err(|error| self.problem(KEY, format!("{error}")))?;
        Ok((Some(architecture), object["source"].as_str().map(str::to_owned)))
    }
}
