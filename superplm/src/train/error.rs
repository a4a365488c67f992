//! What can go wrong in training.

use std::path::PathBuf;

use atb_space::SpaceError;

use super::TrainDevice;
use crate::{DataError, PlmError};

/// Why a training was refused or had to stop.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum TrainError {
    /// a setting that makes no sense
    #[error("training setting `{key}` {problem}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// a device that this program was not built for
    #[error(
        "this program was built without CUDA and cannot train on the device `cuda`; hint: build \
         it where the CUDA toolkit is installed by `cargo build --release --features cuda`, or \
         train on the device `cpu`"
    )]
    NoCuda,
    /// a device that cannot be used
    #[error(
        "the device `{device}` cannot be used: {problem}; hint: `nvidia-smi` shows whether the \
         driver finds a GPU; the device `cpu` needs none"
    )]
    Device {
        /// The device.
        device: TrainDevice,
        /// What its driver says.
        problem: String,
    },
    /// a teacher that the model cannot be distilled from
    #[error("the model cannot be distilled from this teacher: {0}")]
    Teacher(String),
    /// text that was tokenized otherwise than the model does it
    #[error(
        "the text was prepared with another vocabulary or tokenizer than the model's: prepare \
         it again with the model's"
    )]
    Vocabulary,
    /// sequences longer than a model's position table
    #[error(
        "the {what} has sequences of {found} tokens, the {model} takes at most {limit}: prepare \
         it with a sequence length of at most that"
    )]
    SequenceLength {
        /// Which text.
        what: &'static str,
        /// Its sequence length.
        found: usize,
        /// Which model.
        model: &'static str,
        /// The longest it takes.
        limit: usize,
    },
    /// a checkpoint of another training
    #[error(
        "{} is a checkpoint of another training: its `{key}` is {there}, here it is {here}; \
         choose another folder, or the same settings to continue", path.display()
    )]
    OtherTraining {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        key: String,
        /// Its value in the checkpoint.
        there: String,
        /// Its value now.
        here: String,
    },
    /// a checkpoint that is damaged or of a newer version
    #[error("{} cannot be continued from: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// a loss or gradient that is not a number, or has exploded
    #[error(
        "training diverged at step {step}: the {what} of {arch} is {value}; {}, lower the \
         learning rate",
        last_good(checkpoint)
    )]
    Diverged {
        /// The step, from 0.
        step: u64,
        /// Loss or gradient norm.
        what: &'static str,
        /// The architecture, or all of the step's.
        arch: String,
        /// Its value.
        value: f64,
        /// The last checkpoint, if there is one.
        checkpoint: Option<PathBuf>,
    },
    /// a file of the training's folder that cannot be read or written
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// an architecture outside the space, or a space without any
    #[error(transparent)]
    #[diagnostic(transparent)]
    Space(#[from] SpaceError),
    /// an error of the training text
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// an error of a model
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
