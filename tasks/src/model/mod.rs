//! The models that tasks are given to: exported files, model folders, static tables.

mod engine;
mod labels;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atb_checkpoint::{BertConfig, CONFIG_FILE, Checkpoint, WORD_EMBEDDINGS};
use atb_interface::{Head, Meaning};
use atb_runtime::{MODEL_FILE, Session};
use atb_text::{TextInput, Tokenizer};

use crate::TaskError;

pub(crate) use labels::order;
pub use words::Frequencies;

use engine::Body;
pub(crate) use engine::Tokens;
use words::Words;

/// What a task asks a model for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A vector for each text.
    Embedding,
    /// Logits for each text or pair.
    Logits,
    /// Logits of an answer's begin and end.
    Span,
}

impl Wanted {
    fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Logits => "logits for whole texts",
            Self::Span => "logits for the begin and end of answers",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Embedding => "export it with `--head embedding` or `--head states`",
            Self::Logits => {
                "take a model that was fine-tuned for the task, exported with `--head \
                 sequence-classification`"
            }
            Self::Span => {
                "take a model that was fine-tuned for the task, exported with `--head \
                 question-answering`"
            }
        }
    }

    /// The outputs that hold it, any of which will do.
    fn meanings(self) -> &'static [Meaning] {
        match self {
            Self::Embedding => &[Meaning::Embedding, Meaning::TokenStates],
            Self::Logits => &[Meaning::ClassLogits],
            Self::Span => &[Meaning::SpanStart],
        }
    }
}

/// A model that a task can be given to.
pub struct Model {
    name: String,
    tokenizer: Tokenizer,
    body: Body,
    /// What `config.json` says, where there is one.
    config: Option<BertConfig>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Model {
    /// Opens what lies at `path`: a model folder, a bundle or its ONNX file, or with `static:`
    /// before it the mean of the word embeddings of one of these, weighted by inverse document
    /// frequency with `static-idf:`.
    ///
    /// # Errors
    /// [`TaskError`] naming the file that is missing or wrong.
    pub fn open(path: &str) -> Result<Self, TaskError> {
        if let Some(path) = path.strip_prefix("static:") {
            return Self::open(path)?.static_table(false);
        }
        if let Some(path) = path.strip_prefix("static-idf:") {
            return Self::open(path)?.static_table(true);
        }
        let name = path.trim_end_matches('/').to_owned();
        let path = Path::new(path);
        let file = match path.is_file() {
            true => path.to_owned(),
            false => path.join(MODEL_FILE),
        };
        let is_bundle = file.is_file();
        if !is_bundle && !path.join(CONFIG_FILE).is_file() {
            return Err(TaskError::NoModel { path: path.to_owned() });
        }
        let folder =
            if path.is_file() { atb_files::folder_of(path).to_owned() } else { path.to_owned() };
        let tokenizer = Tokenizer::from_folder(&folder)?;
        let (body, config) = match is_bundle {
            true => {
                let has_config = folder.join(CONFIG_FILE).is_file();
                let config = has_config.then(|| BertConfig::read(&folder)).transpose()?;
                (Self::of_file(file)?, config)
            }
            false => {
                let checkpoint = Checkpoint::open(path)?;
                checkpoint.check_vocabulary(tokenizer.vocabulary_size())?;
                let config = Some(checkpoint.config().clone());
                (Body::Folder(Arc::new(checkpoint)), config)
            }
        };
        Ok(Self { name, tokenizer, body, config })
    }

    fn of_file(path: PathBuf) -> Result<Body, TaskError> {
        let session = Session::open(&path)?;
        Ok(Body::File {
            batch: session.batch(),
            sequence: session.sequence(),
            outputs: session.outputs().to_vec(),
            path,
        })
    }

    /// Its word embeddings alone as a model: their mean is the embedding of a text.
    ///
    /// # Errors
    /// [`TaskError::NoWords`] for a file whose word embeddings are not there as such.
    pub fn static_table(&self, weighted: bool) -> Result<Self, TaskError> {
        let (shape, values) = match &self.body {
            Body::Folder(checkpoint) => checkpoint.tensor(WORD_EMBEDDINGS)?,
            Body::File { path, .. } => words::of_file(path)
                .ok_or_else(|| TaskError::NoWords { model: self.name.clone() })?,
            Body::Words(words) => (vec![0, words.width()], words.values().to_vec()),
        };
        let width = shape.last().copied().unwrap_or(1);
        let name = if self.is_static() {
            self.name.split_once(':').map_or(&*self.name, |(_, name)| name)
        } else {
            &self.name
        };
        Ok(Self {
            name: format!("static{}:{name}", if weighted { "-idf" } else { "" }),
            tokenizer: self.tokenizer.clone(),
            body: Body::Words(Words::new(values, width, weighted)),
            config: None,
        })
    }

    /// The same model under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Its name: where it was opened, unless it was given another.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether it is a table of words.
    #[must_use]
    pub fn is_static(&self) -> bool {
        matches!(self.body, Body::Words(_))
    }

    /// Whether its embeddings depend on how frequent words are.
    #[must_use]
    pub fn is_weighted(&self) -> bool {
        matches!(&self.body, Body::Words(words) if words.is_weighted())
    }

    /// The longest sequence that it takes, of at most `asked` tokens.
    pub(crate) fn longest(&self, asked: usize) -> usize {
        match &self.body {
            Body::Folder(checkpoint) => asked.min(checkpoint.config().max_position_embeddings),
            Body::File { sequence, .. } => *sequence,
            Body::Words(_) => asked,
        }
    }

    /// The task that it was fine-tuned on, if it is another than the one of this name.
    pub(crate) fn other_task(&self, task: &str) -> Option<&str> {
        self.config.as_ref()?.other_task(task)
    }

    /// The names of its labels in the order of its outputs, where it has some.
    pub(crate) fn labels(&self) -> &[String] {
        self.config.as_ref().map_or(&[], |config| &config.labels)
    }

    fn no_output(&self, wanted: Wanted, task: &str) -> TaskError {
        TaskError::NoOutput {
            model: self.name.clone(),
            wanted: wanted.name(),
            task: task.to_owned(),
            help: wanted.help(),
        }
    }

    /// The heads to run a model folder with.
    fn heads(
        &self,
        checkpoint: &Checkpoint,
        wanted: Wanted,
        task: &str,
    ) -> Result<&'static Head, TaskError> {
        let names: &[&str] = match wanted {
            Wanted::Embedding => &["embedding", "states"],
            Wanted::Logits => &["sequence-classification"],
            Wanted::Span => &["question-answering"],
        };
        let heads = names.iter().filter_map(|name| Head::named(name));
        let has = |head: &&Head| head.weights().iter().all(|name| checkpoint.has(name));
        heads.into_iter().find(has).ok_or_else(|| self.no_output(wanted, task))
    }

    /// One vector for each text. `frequencies` weigh the words of a static table that asks for
    /// them.
    pub(crate) fn embed(
        &self,
        texts: &[&str],
        longest: usize,
        frequencies: Option<&Frequencies>,
        task: &str,
    ) -> Result<Vec<Vec<f32>>, TaskError> {
        if let Body::Words(words) = &self.body {
            return words.embed(&self.tokenizer, texts, frequencies);
        }
        let longest = self.longest(longest);
        let tokens: Vec<Tokens> = texts
            .iter()
            .map(|text| Tokens::of(TextInput::Single(text), &self.tokenizer, longest))
            .collect::<Result<_, _>>()?;
        self.run(&tokens, Wanted::Embedding, task, |row| row.vector())
    }
}
