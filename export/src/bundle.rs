//! Writing and opening bundles.

use std::path::{Path, PathBuf};

use atb_bundle::{MANIFEST_SCHEMA, MODEL_FILE, Manifest, TOKENIZER_FILE, VOCABULARY_FILE};
use atb_checkpoint::{BertConfig, CONFIG_FILE, Checkpoint, CheckpointError};
use atb_files::{FileError, Staging};
use atb_graph::{HfWeights, Network, NetworkConfig, NetworkHead};
use atb_interface::{HEADS, Head, Meaning, WORD_EMBEDDINGS};
use atb_space::{Cost, Precision, Workload};
use atb_text::Tokenizer;
use fs_err as fs;

use crate::card::card;
use crate::meaning;
use crate::vocabulary::{Pruned, Vocabulary};
use crate::{BundleReport, ExportError, REPORT_SCHEMA};

const REPORT_FILE: &str = "report.json";
const CARD_FILE: &str = "README.md";

/// A folder that an app takes.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    report: BundleReport,
}

/// What of a model a bundle has, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The shape of input that it takes.
    pub workload: Workload,
    /// What its word embeddings and products are.
    pub precision: Precision,
    /// Names of the heads whose outputs it gives; without any, those that
    /// [`Head::of_checkpoint`] takes.
    pub heads: Vec<String>,
    /// Least and largest score of a model that gives a number, for whoever embeds it.
    pub score_range: Option<[f32; 2]>,
    /// Whether embeddings are given with length one; what the model folder says if absent.
    pub normalised: Option<bool>,
    /// Which words it knows; all of the model's if absent.
    pub vocabulary: Option<Vocabulary>,
}

/// Writes the bundle of the model folder `model` into `folder`, replacing an older bundle
/// there. The folder appears whole or not at all.
///
/// # Errors
/// [`ExportError`] naming the file, tensor or head at fault.
pub fn export(model: &Path, options: &Options, folder: &Path) -> Result<Bundle, ExportError> {
    let Options { workload, precision, heads, .. } = options;
    let workload = *workload;
    let checkpoint = Checkpoint::open(model)?;
    let config = checkpoint.config();
    if workload.sequence > config.max_position_embeddings {
        return Err(ExportError::Positions {
            folder: model.to_owned(),
            positions: config.max_position_embeddings,
            sequence: workload.sequence,
        });
    }
    let replaced = folder.exists();
    if replaced && Bundle::open(folder).is_err() && !is_empty_folder(folder) {
        return Err(ExportError::Occupied { path: folder.to_owned() });
    }
    let whole = Tokenizer::from_folder(model)?;
    checkpoint.check_vocabulary(whole.vocabulary_size())?;
    let pruned = options.vocabulary.as_ref().map(|kept| Pruned::new(&whole, kept)).transpose()?;
    let tokenizer = pruned.as_ref().map_or(&whole, |pruned| &pruned.tokenizer);
    let config = BertConfig {
        vocab_size: pruned.as_ref().map_or(config.vocab_size, |_| tokenizer.vocabulary_size()),
        ..config.clone()
    };
    let parameters =
        Cost::check(&config.architecture, config.vocab_size, config.max_position_embeddings)?;
    let network_config = NetworkConfig {
        precision: *precision,
        vocab_size: config.vocab_size,
        ..network_config(&checkpoint, heads)?
    };
    let network = Network::new(&config.architecture, workload, &network_config);
    let labels = labels(&checkpoint, &network_config)?;
    let weights = HfWeights::new(|name: &str| -> Result<_, CheckpointError> {
        let tensor = checkpoint.tensor(name)?;
        Ok(match &pruned {
            Some(pruned) if name == WORD_EMBEDDINGS => pruned.table(tensor),
            _ => tensor,
        })
    });

    let staging = Staging::beside(folder)?;
    let model_file = staging.path().join(MODEL_FILE);
    network.write(&weights, &model_file)?;
    for (name, content) in [
        (CONFIG_FILE, config.to_json()),
        (VOCABULARY_FILE, tokenizer.vocabulary_file()),
        (TOKENIZER_FILE, tokenizer.config_file(workload.sequence)),
    ] {
        fs::write(staging.path().join(name), content)?;
    }
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        architecture: config.architecture.id(),
        labels: labels.clone(),
        activation: meaning::activation(model),
        score_range: options.score_range,
        embedding: meaning::embedding(model, options.normalised),
        parts: Vec::new(),
    };
    let parts = [TOKENIZER_FILE, CONFIG_FILE, VOCABULARY_FILE, MODEL_FILE];
    atb_bundle::write_manifest(staging.path(), manifest, &parts)?;
    let report = BundleReport {
        schema: REPORT_SCHEMA,
        architecture: config.architecture.clone(),
        workload,
        precision: *precision,
        parameters,
        model_bytes: fs::metadata(&model_file)?.len(),
        outputs: network_config.outputs(config.architecture.hidden(), workload),
        labels,
        vocabulary: pruned.as_ref().map(|pruned| pruned.kept(whole.vocabulary_size())),
        parity: None,
        latency: Vec::new(),
    };
    let written = Bundle { folder: staging.path().to_owned(), report };
    written.write_report(config.source.as_deref())?;
    if replaced {
        fs::remove_dir_all(folder)?;
    }
    staging.publish(folder)?;
    Ok(Bundle { folder: folder.to_owned(), ..written })
}

/// Sizes and heads of a checkpoint; of the heads of these names, if there are any.
fn network_config(checkpoint: &Checkpoint, heads: &[String]) -> Result<NetworkConfig, ExportError> {
    let config = checkpoint.config();
    let named = |name: &String| {
        Head::named(name).ok_or_else(|| ExportError::UnknownHead {
            name: name.clone(),
            known: HEADS.iter().map(|head| head.name).collect(),
        })
    };
    let heads: Vec<&'static Head> = match heads {
        [] => Head::of_checkpoint(|name| checkpoint.has(name), config.class.as_deref()),
        names => names.iter().map(named).collect::<Result<_, _>>()?,
    };
    let shape = |name: &str| checkpoint.shape(name).map(<[usize]>::to_vec);
    let heads = NetworkConfig::sized_heads(&heads, config.architecture.hidden(), shape)?;
    Ok(NetworkConfig {
        vocab_size: config.vocab_size,
        type_vocab_size: config.type_vocab_size,
        layer_norm_eps: config.layer_norm_eps as f32,
        precision: Precision::F32,
        heads,
    })
}

/// Names of the labels that the network's logits stand for, in their order.
fn labels(checkpoint: &Checkpoint, network: &NetworkConfig) -> Result<Vec<String>, ExportError> {
    let gives_logits = |head: &&NetworkHead| {
        let logits = [Meaning::ClassLogits, Meaning::TokenLogits];
        head.head.outputs.iter().any(|output| logits.contains(&output.meaning))
    };
    let labels = &checkpoint.config().labels;
    match network.heads.iter().find(gives_logits) {
        Some(head) if labels.is_empty() || labels.len() == head.width => Ok(labels.clone()),
        Some(head) => Err(ExportError::Labels {
            path: checkpoint.folder().join(CONFIG_FILE),
            labels: labels.len(),
            head: head.head.name,
            width: head.width,
        }),
        None => Ok(Vec::new()),
    }
}

fn is_empty_folder(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

impl Bundle {
    /// Opens the bundle `folder`.
    ///
    /// # Errors
    /// [`ExportError`] if it is none, or of a newer version.
    pub fn open(folder: &Path) -> Result<Self, ExportError> {
        let path = folder.join(REPORT_FILE);
        if path.exists() && !path.is_file() {
            return Err(ExportError::NoFile { path });
        }
        let report = atb_files::read_json(&path, REPORT_SCHEMA).map_err(|error| match error {
            FileError::Json { path, problem } => ExportError::Report { path, problem },
            error => error.into(),
        })?;
        Ok(Self { folder: folder.to_owned(), report })
    }

    /// The bundle's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its `model.onnx`.
    #[must_use]
    pub fn model_file(&self) -> PathBuf {
        self.folder.join(MODEL_FILE)
    }

    /// Writes it into one file, as an app takes it.
    ///
    /// # Errors
    /// [`ExportError::Bundle`] if a part is missing or not the one that was exported.
    pub fn pack(&self, file: &Path) -> Result<(), ExportError> {
        Ok(atb_bundle::pack(&self.folder, file)?)
    }

    /// Its report.
    #[must_use]
    pub fn report(&self) -> &BundleReport {
        &self.report
    }

    /// Changes the report, and the model card with it.
    ///
    /// # Errors
    /// [`ExportError::Io`]; the files are then as they were.
    pub fn update(&mut self, change: impl FnOnce(&mut BundleReport)) -> Result<(), ExportError> {
        change(&mut self.report);
        let source = BertConfig::read(&self.folder)?.source;
        self.write_report(source.as_deref())
    }

    fn write_report(&self, source: Option<&str>) -> Result<(), ExportError> {
        atb_files::write_json(&self.folder.join(REPORT_FILE), &self.report)?;
        let card = card(&self.report, source);
        Ok(atb_files::write(&self.folder.join(CARD_FILE), card.as_bytes())?)
    }
}
