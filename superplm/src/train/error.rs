//! What can go wrong in training.

use std::path::PathBuf;

use atb_files::FileError;
use atb_settings::OutOfRange;
use atb_space::SpaceError;

use crate::{DataError, PlmError};

/// Why a training was refused or had to stop.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TrainError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error("`schedule.warmup_steps` is {warmup_steps}, more than the {steps} steps")]
    #[diagnostic(help("give `schedule.warmup_steps` at most the number of steps"))]
    Warmup { warmup_steps: u64, steps: u64 },
    #[error("`panel` is empty, so there is nothing to validate")]
    #[diagnostic(help("give it at least one architecture"))]
    EmptyPanel,
    #[error("this program was built without CUDA and cannot train on the accelerator `cuda`")]
    #[diagnostic(help(
        "build it where the CUDA toolkit is installed by `cargo build --release --features \
         cuda`, or train on `cpu`"
    ))]
    NoCuda,
    #[error("the accelerator `{accelerator}` cannot be used: {problem}")]
    #[diagnostic(help("`nvidia-smi` shows whether the driver finds a GPU; `cpu` needs none"))]
    Accelerator { accelerator: String, problem: String },
    #[error("a batch of {batch_size} sequences cannot be shared by {ranks} ranks")]
    #[diagnostic(help(
        "start at most as many ranks as sequences are in a batch, or raise `batch_size`"
    ))]
    TooManyRanks { ranks: usize, batch_size: usize },
    #[error(
        "rank {rank} is not at what rank 0 is at: its `{key}` is {here}, that of rank 0 {there}"
    )]
    #[diagnostic(help(
        "start the same program with the same files for all ranks, in folders that all machines \
         share"
    ))]
    OtherRank { rank: usize, key: String, there: String, here: String },
    #[error("after {steps} steps rank {rank} has come to other parameters than rank 0")]
    #[diagnostic(help(
        "the same command continues from the last checkpoint; machines that differ in their \
         processors, or an MPI whose sums differ between ranks, cannot train together"
    ))]
    RanksApart { rank: usize, steps: u64 },
    #[error("the objective `{name}` {problem}")]
    Objective { name: &'static str, problem: String },
    #[error("the model cannot be distilled from this teacher: {0}")]
    Teacher(String),
    #[error("the model cannot be fine-tuned on these examples: {0}")]
    Examples(String),
    #[error("the text was tokenized with another vocabulary or tokenizer than the model's")]
    #[diagnostic(help("tokenize it again with the model's"))]
    Vocabulary,
    #[error("the {what} has sequences of {found} tokens, the {model} takes at most {limit}")]
    #[diagnostic(help("choose a sequence length of at most {limit}"))]
    SequenceLength { what: &'static str, found: usize, model: &'static str, limit: usize },
    #[error(
        "{} is a checkpoint of another training: its `{key}` is {there}, here it is {here}",
        path.display()
    )]
    #[diagnostic(help("choose another folder, or the same settings to continue"))]
    OtherTraining { path: PathBuf, key: String, there: String, here: String },
    #[error("{} is damaged: {problem}", path.display())]
    #[diagnostic(help("delete its folder to continue from the checkpoint before"))]
    Damaged { path: PathBuf, problem: String },
    #[error("training diverged at step {step}: the {what} of {arch} is {value}")]
    #[diagnostic(help("lower the learning rate; {}", last_good(checkpoint)))]
    Diverged {
        step: u64,
        what: &'static str,
        arch: String,
        value: f64,
        checkpoint: Option<PathBuf>,
    },
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Space(#[from] SpaceError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] PlmError),
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        PlmError::from(error).into()
    }
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "there is no checkpoint yet".to_owned(),
    }
}
