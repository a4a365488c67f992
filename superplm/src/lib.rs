//! The elastic SuperPLM in candle: load, slice, run, score, extract, train.
//!
//! A [`SuperPlm`] is a BERT of which any leading part is a model: fewer layers, a smaller
//! hidden or intermediate size, fewer or narrower heads. [`SuperPlm::forward`] runs such a
//! part in place, [`SentenceFitness`] and
//! [`KdFitness`] score it against a teacher on held-out text, [`extract()`]
//! cuts it out into an ordinary model folder; [`atb_checkpoint`] reads the tensors of such
//! folders by their Hugging Face names.
//!
//! [`train`] makes one: from text that [`prepare`] has tokenized, by distillation from a
//! teacher or by masked language modelling, many sub-architectures at a time or one.
//! [`Finetuning`] trains a model and a head for a task.
//!
//! ```
//! use atb_superplm::{SuperPlm, extract};
//! use atb_text::Tokenizer;
//!
//! let whole = "4-64-256-4-64".parse()?;
//! let plm = SuperPlm::random(whole, Tokenizer::bert_uncased()?, 7)?;
//! let part = "2-48-128-4-32".parse()?;
//!
//! let batch = plm.tokenizer().encode_batch(["Small models fit into pockets."], 16)?;
//! let output = plm.forward(&part, &batch)?;
//! assert_eq!(output.hidden.dims(), [1, 16, 48]);
//!
//! let folder = tempfile::tempdir()?;
//! extract(&plm, &part, &folder.path().join("part"))?;
//! let cut = SuperPlm::load(&folder.path().join("part"))?;
//! assert_eq!(cut.architecture(), &part);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bert;
mod data;
mod embeddings;
mod error;
mod extract;
mod finetune;
mod fitness;
mod heads;
mod kd;
mod masked_lm;
mod model;
mod ops;
mod parameters;
mod random;
mod sentence;
mod task_head;
mod train;
mod vectorised;

pub use bert::Output;
pub use data::{DataError, Dataset, Layout, PrepareProgress, prepare};
pub use embeddings::{EMBEDDINGS_FILE, TeacherEmbeddings};
pub use error::PlmError;
pub use extract::{Storage, extract, extract_as};
pub use finetune::{
    DistillationSettings, FinetuneSettings, Finetuning, HeldOutScore, Row, Target, TaskTraining,
};
pub use fitness::KdFitness;
pub use kd::KdLoss;
pub use masked_lm::MaskedLmFitness;
pub use model::SuperPlm;
pub use sentence::SentenceFitness;
pub use task_head::TaskHead;
pub use train::{
    Accelerator, Exchange, MetricsLine, Objective, ObjectiveKind, Outcome, Progress, Schedule,
    Stopped, SubModels, TrainError, TrainSettings, Training, check_start, default_panel,
    keep_freed_memory, train, train_across,
};
