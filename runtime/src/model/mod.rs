//! A bundle as an app uses it: texts in, answers in the app's own terms out.

mod answer;
mod cancellation;
mod pool;
mod tag;

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use atb_bundle::{Bundle, Bytes, MODEL_FILE, Manifest, Pooling, TOKENIZER_FILE, VOCABULARY_FILE};
use atb_interface::{Inputs, Meaning, OutputShape, Outputs};
use atb_text::{TextInput, Tokenizer};

pub use self::answer::{Answer, Label};
use self::answer::{answers, probabilities};
pub use self::cancellation::Cancellation;
use self::pool::Pool;
pub use self::tag::Tag;
use self::tag::{tags, widest, windows};
use crate::error::ModelError;
use crate::session::{Session, SessionError};
use crate::spans::{SpanSettings, Window, n_best};

/// What a model can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// [`Model::classify`].
    Classify,
    /// [`Model::score`].
    Score,
    /// [`Model::embed`].
    Embed,
    /// [`Model::answer`].
    Answer,
    /// [`Model::tag`].
    Tag,
}

/// How a bundle is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether every part's digest is checked first. It costs the time to read the bundle once
    /// more, and tells of a file that was damaged where its sizes do not.
    pub check_digests: bool,
}

/// A loaded bundle, for any number of threads: a call takes `&self`, a clone is the same model,
/// and there is one copy of the weights.
///
/// A call runs on the thread that makes it and on no other. Every failure is a value; a panic of
/// the engine is one, too, unless the program is built with `panic = "abort"`.
#[derive(Clone, Debug)]
pub struct Model {
    shared: Arc<Shared>,
    cancellation: Option<Cancellation>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    manifest: Manifest,
    labels: Vec<String>,
    tokenizer: Tokenizer,
    outputs: Vec<OutputShape>,
    batch: usize,
    sequence: usize,
    pool: Pool,
}

/// Token ids of one row of a batch, special ones included, without padding.
struct Row {
    ids: Vec<i64>,
    types: Vec<i64>,
}

impl Model {
    /// Opens a bundle: a folder as `atb export` writes it, or one file.
    ///
    /// # Errors
    /// [`ModelError`] naming the bundle and what is wrong in it.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::of_bundle(&Bundle::open(path)?, OpenOptions::default())
    }

    /// Opens a bundle in one file of which the bytes are at hand, such as `include_bytes!`. They
    /// are not needed any more when this returns.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, ModelError> {
        let bundle = Bundle::from_bytes("bundle", Bytes::new(bytes))?;
        Self::of_bundle(&bundle, OpenOptions::default())
    }

    /// Opens a bundle in one file that is `length` bytes of an open file from `offset` on, as the
    /// assets of an Android app are; without a length, all that follow. The file is not needed
    /// any more when this returns.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_file(file: &File, offset: u64, length: Option<u64>) -> Result<Self, ModelError> {
        let bundle = Bundle::from_file("bundle", file, offset, length)?;
        Self::of_bundle(&bundle, OpenOptions::default())
    }

    /// Loads an opened bundle.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn of_bundle(bundle: &Bundle, options: OpenOptions) -> Result<Self, ModelError> {
        if options.check_digests {
            bundle.check_digests()?;
        }
        let name = bundle.name().to_owned();
        let (vocabulary, config) = (bundle.part(VOCABULARY_FILE)?, bundle.part(TOKENIZER_FILE)?);
        let tokenizer = Tokenizer::from_contents(&name, &vocabulary, &config)?;
        let session = Session::from_bytes(&name, &bundle.part(MODEL_FILE)?, 1)?;
        let entries = tokenizer.vocabulary_size();
        if let Some(words) = session.words().filter(|words| *words < entries) {
            return Err(ModelError::Vocabulary { model: name, entries, words });
        }
        let manifest = bundle.manifest().clone();
        let outputs = session.outputs().to_vec();
        let labels = labels(&name, &manifest, &outputs)?;
        let (batch, sequence) = (session.batch(), session.sequence());
        let pool = Pool::new(session);
        let shared = Shared { name, manifest, labels, tokenizer, outputs, batch, sequence, pool };
        Ok(Self { shared: Arc::new(shared), cancellation: None })
    }

    /// The same model, whose calls `cancellation` ends.
    #[must_use]
    pub fn cancelled_by(&self, cancellation: &Cancellation) -> Self {
        Self { cancellation: Some(cancellation.clone()), ..self.clone() }
    }

    /// Whether it can be asked for this.
    #[must_use]
    pub fn gives(&self, task: Task) -> bool {
        match task {
            Task::Classify => self.classes().is_some_and(|width| width > 1),
            Task::Score => self.classes() == Some(1),
            Task::Embed => self.embedding_size().is_some(),
            Task::Answer => self.shape(Meaning::SpanStart).is_some(),
            Task::Tag => self.shape(Meaning::TokenLogits).is_some(),
        }
    }

    /// The names of its labels, in the order of its outputs; empty if it has none to give.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.shared.labels
    }

    /// The least and the largest score that it gives, where the bundle says so.
    #[must_use]
    pub fn score_range(&self) -> Option<[f32; 2]> {
        self.shared.manifest.score_range
    }

    /// Values of an embedding, if it gives embeddings.
    #[must_use]
    pub fn embedding_size(&self) -> Option<usize> {
        let shape = self.shape(Meaning::Embedding).or_else(|| self.shape(Meaning::TokenStates));
        shape?.last().copied()
    }

    /// Most tokens of a text that count, special ones included; the rest of it is left out, but
    /// for [`Model::answer`] and [`Model::tag`].
    #[must_use]
    pub fn sequence(&self) -> usize {
        self.shared.sequence
    }

    /// The labels of each text, the most probable first. A text may be a pair of two.
    ///
    /// # Errors
    /// [`ModelError`], also if the model tells no labels apart or the call was cancelled.
    pub fn classify<'a, T>(&self, texts: &[T]) -> Result<Vec<Vec<Label>>, ModelError>
    where
        T: Copy + Into<TextInput<'a>>,
    {
        let labels = self.probabilities(texts)?.into_iter().map(|probabilities| {
            let named = self.shared.labels.iter().zip(probabilities).enumerate();
            let mut labels: Vec<Label> = named
                .map(|(index, (name, probability))| Label {
                    name: name.clone(),
                    index,
                    probability,
                })
                .collect();
            labels.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            labels
        });
        Ok(labels.collect())
    }

    /// The probabilities of each text's labels, in the order of [`Model::labels`].
    ///
    /// # Errors
    /// As [`Model::classify`].
    pub fn probabilities<'a, T>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, ModelError>
    where
        T: Copy + Into<TextInput<'a>>,
    {
        if !self.gives(Task::Classify) {
            return Err(self.lacks("logits of labels"));
        }
        let activation = self.shared.manifest.activation;
        self.each(texts, "logits of labels", |outputs, row, _| {
            Some(probabilities(outputs.meaning(Meaning::ClassLogits)?.row(row)?, activation))
        })
    }

    /// The score of each text, within [`Model::score_range`] where there is one. A text may be a
    /// pair of two.
    ///
    /// # Errors
    /// [`ModelError`], also if the model gives no scores or the call was cancelled.
    pub fn score<'a, T>(&self, texts: &[T]) -> Result<Vec<f32>, ModelError>
    where
        T: Copy + Into<TextInput<'a>>,
    {
        if !self.gives(Task::Score) {
            return Err(self.lacks("score"));
        }
        let range = self.score_range();
        self.each(texts, "score", |outputs, row, _| {
            let score = *outputs.meaning(Meaning::ClassLogits)?.row(row)?.first()?;
            Some(range.map_or(score, |[least, most]| score.max(least).min(most)))
        })
    }

    /// The embedding of each text: the model's own, where it has that output, else what the
    /// bundle says of pooling; of length one where the model is meant so.
    ///
    /// # Errors
    /// [`ModelError`], also if the model gives no embeddings or the call was cancelled.
    pub fn embed<'a, T>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, ModelError>
    where
        T: Copy + Into<TextInput<'a>>,
    {
        let embedding = self.shared.manifest.embedding;
        let size = self.embedding_size().ok_or_else(|| self.lacks("embedding"))?;
        let own = self.shape(Meaning::Embedding).is_some();
        self.each(texts, "embedding", |outputs, row, mask| {
            let mut vector = match embedding.pooling {
                Pooling::First if !own => {
                    outputs.meaning(Meaning::TokenStates)?.row(row)?.get(..size)?.to_vec()
                }
                _ => outputs.vector(row, mask)?,
            };
            if embedding.normalised {
                normalise(&mut vector);
            }
            Some(vector)
        })
    }

    /// The parts of `text` that answer `question` best, at most `count`, the most probable
    /// first. A long text is read in windows that overlap.
    ///
    /// # Errors
    /// [`ModelError`], also if the model finds no answers, the question leaves no room for the
    /// text, or the call was cancelled.
    pub fn answer(
        &self,
        question: &str,
        text: &str,
        count: usize,
    ) -> Result<Vec<Answer>, ModelError> {
        if !self.gives(Task::Answer) {
            return Err(self.lacks("answers"));
        }
        let sequence = self.shared.sequence;
        let default = SpanSettings::default();
        let settings = SpanSettings {
            sequence,
            question: default.question.min(sequence / 2),
            // The share of a window that BERT's own windows move by.
            stride: (sequence * default.stride / default.sequence).max(1),
            ..default
        };
        let windows = Window::over(question, text, &self.shared.tokenizer, &settings)?;
        let row = |window: &Window| {
            let Window { ids, types, .. } = window;
            Ok(Row { ids: ids.clone(), types: types.clone() })
        };
        let logits = self.rows(&windows, "answers", row, |outputs, row, _| {
            let values = |meaning| Some(outputs.meaning(meaning)?.row(row)?.to_vec());
            Some((values(Meaning::SpanStart)?, values(Meaning::SpanEnd)?))
        })?;
        let spans = windows.iter().zip(&logits);
        let spans = spans.map(|(window, (begins, ends))| window.best(begins, ends, &settings));
        Ok(answers(text, &n_best(spans, count)))
    }

    /// The labelled parts of each text, in their order. A word has the label of its first token;
    /// neighbouring words of one label are one part, unless the later one's label begins with
    /// `B-`, and words labelled `O` are left out. A long text is read in windows that overlap.
    ///
    /// # Errors
    /// [`ModelError`], also if the model labels no tokens or the call was cancelled.
    pub fn tag(&self, texts: &[&str]) -> Result<Vec<Vec<Tag>>, ModelError> {
        if !self.gives(Task::Tag) {
            return Err(self.lacks("labels of tokens"));
        }
        texts.iter().map(|text| self.tags_of(text)).collect()
    }

    fn tags_of(&self, text: &str) -> Result<Vec<Tag>, ModelError> {
        let Shared { sequence, ref tokenizer, ref labels, ref manifest, .. } = *self.shared;
        let tokens = tokenizer.tokens(text)?;
        let specials = tokenizer.specials();
        let windows = windows(tokens.len(), sequence.saturating_sub(2).max(1));
        let row = |window: &Range<usize>| {
            let mut ids = vec![specials.start];
            ids.extend(tokens[window.clone()].iter().map(|token| token.id));
            ids.push(specials.separator);
            Ok(Row { types: vec![0; ids.len()], ids })
        };
        let logits = self.rows(&windows, "labels of tokens", row, |outputs, row, _| {
            Some(outputs.meaning(Meaning::TokenLogits)?.row(row)?.to_vec())
        })?;
        let width = labels.len();
        let of_token = |at: usize| {
            let window = widest(&windows, at, tokens.len())?;
            // The start token comes first.
            let place = (at - windows.get(window)?.start + 1) * width;
            let logits = logits.get(window)?.get(place..place + width)?;
            Some(probabilities(logits, manifest.activation))
        };
        let all: Option<Vec<Vec<f32>>> = (0..tokens.len()).map(of_token).collect();
        let all = all.ok_or_else(|| self.lacks("labels of tokens"))?;
        Ok(tags(text, &tokens, |token| tokenizer.continues_word(token.id), &all, labels))
    }

    /// Runs a text as long as the model takes, so that the next call does not pay for what only
    /// the first does: pages of the weights that were not touched yet, memory of a run.
    ///
    /// # Errors
    /// [`ModelError`] if the model fails to run.
    pub fn warm_up(&self) -> Result<(), ModelError> {
        let Shared { sequence, ref tokenizer, .. } = *self.shared;
        let ids = vec![tokenizer.specials().mask; sequence];
        let row = |ids: &Vec<i64>| Ok(Row { ids: ids.clone(), types: vec![0; sequence] });
        self.rows(&[ids], "output", row, |_, _, _| Some(()))?;
        Ok(())
    }

    /// What `take` wants of each text's outputs.
    fn each<'a, T, R>(
        &self,
        texts: &[T],
        wanted: &'static str,
        take: impl FnMut(&Outputs, usize, &[i64]) -> Option<R>,
    ) -> Result<Vec<R>, ModelError>
    where
        T: Copy + Into<TextInput<'a>>,
    {
        let Shared { sequence, ref tokenizer, .. } = *self.shared;
        let row = |text: &T| {
            let encoded = tokenizer.encode_batch([(*text).into()], sequence)?;
            let count = encoded.real_tokens();
            let (mut ids, mut types) = (encoded.input_ids, encoded.token_type_ids);
            ids.truncate(count);
            types.truncate(count);
            Ok(Row { ids, types })
        };
        self.rows(texts, wanted, row, take)
    }

    /// Runs any number of rows in batches of the model's size.
    fn rows<T, R>(
        &self,
        items: &[T],
        wanted: &'static str,
        row: impl Fn(&T) -> Result<Row, ModelError>,
        mut take: impl FnMut(&Outputs, usize, &[i64]) -> Option<R>,
    ) -> Result<Vec<R>, ModelError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.pool.with(|session| {
            let mut taken = Vec::with_capacity(items.len());
            for part in items.chunks(self.shared.batch.max(1)) {
                if self.cancellation.as_ref().is_some_and(Cancellation::is_cancelled) {
                    return Err(ModelError::Cancelled);
                }
                let rows: Vec<Row> = part.iter().map(&row).collect::<Result<_, _>>()?;
                let inputs = self.inputs(&rows);
                let outputs = session.run(&inputs)?;
                for number in 0..part.len() {
                    let one = take(&outputs, number, &inputs.attention_mask);
                    taken.push(one.ok_or_else(|| self.lacks(wanted))?);
                }
            }
            Ok(taken)
        })
    }

    /// One batch, filled up with rows of one token.
    fn inputs(&self, rows: &[Row]) -> Inputs {
        let Shared { batch, sequence, ref tokenizer, .. } = *self.shared;
        let specials = tokenizer.specials();
        let size = batch * sequence;
        let mut inputs = Inputs {
            input_ids: vec![specials.padding; size],
            attention_mask: vec![0; size],
            token_type_ids: vec![0; size],
        };
        for number in 0..batch {
            let start = number * sequence;
            let blank = Row { ids: vec![specials.start], types: vec![0] };
            let Row { ids, types } = rows.get(number).unwrap_or(&blank);
            let length = ids.len().min(sequence);
            inputs.input_ids[start..start + length].copy_from_slice(&ids[..length]);
            inputs.token_type_ids[start..start + length].copy_from_slice(&types[..length]);
            inputs.attention_mask[start..start + length].fill(1);
        }
        inputs
    }

    fn shape(&self, meaning: Meaning) -> Option<&[usize]> {
        shape(&self.shared.outputs, meaning)
    }

    /// Labels that it tells apart, of whole texts.
    fn classes(&self) -> Option<usize> {
        self.shape(Meaning::ClassLogits)?.last().copied()
    }

    fn lacks(&self, wanted: &'static str) -> ModelError {
        let outputs = self.shared.outputs.iter().map(|output| output.name.clone()).collect();
        let model = self.shared.name.clone();
        SessionError::NoOutput { model, wanted, outputs }.into()
    }
}

/// The shape of the output of this meaning.
fn shape(outputs: &[OutputShape], meaning: Meaning) -> Option<&[usize]> {
    let output = outputs.iter().find(|output| output.meaning() == Some(meaning));
    output.map(|output| &*output.shape)
}

/// The names of the labels that a model tells apart: those of its manifest, or as Hugging Face
/// calls labels without a name.
fn labels(
    name: &str,
    manifest: &Manifest,
    outputs: &[OutputShape],
) -> Result<Vec<String>, ModelError> {
    let logits = shape(outputs, Meaning::ClassLogits);
    let logits = logits.or_else(|| shape(outputs, Meaning::TokenLogits));
    let Some(width) = logits.and_then(<[usize]>::last).copied() else { return Ok(Vec::new()) };
    match &*manifest.labels {
        [] => Ok((0..width).map(|number| format!("LABEL_{number}")).collect()),
        labels if labels.len() == width => Ok(labels.to_vec()),
        labels => Err(ModelError::Labels { model: name.to_owned(), labels: labels.len(), width }),
    }
}

/// Gives a vector the length one, unless it has none.
fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}
