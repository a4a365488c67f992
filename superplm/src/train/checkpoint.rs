//! Checkpoints: a model folder with the optimizer's state and what the training was.
//!
//! A checkpoint is `checkpoints/step-NNNNNNNN/`: an ordinary model folder, which everything
//! that takes a SuperPLM takes, with `optimizer.safetensors` and `training.json` beside the
//! weights. It appears whole or not at all; the last [`KEPT`] are kept.

use std::path::{Path, PathBuf};

use atb_files::{Difference, check_schema, difference};
use atb_ranks::Ranks;
use candle_core::Device;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::variables::Variables;
use super::{TrainError, Training};
use crate::extract::{begin_folder, contiguous};
use crate::{PlmError, SuperPlm};

/// Version of the state's schema. Version 1 had other names for some settings, see
/// [`with_present_names`].
const SCHEMA: u32 = 2;
const KEPT: usize = 2;
const FOLDER: &str = "checkpoints";
const PREFIX: &str = "step-";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "training.json";

/// What is needed to continue besides weights and optimizer: everything random follows
/// from the seed and the number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    schema: u32,
    /// Steps made.
    pub(crate) steps: u64,
    /// Mean loss of the first step, by which an explosion is told.
    pub(crate) first_loss: Option<f64>,
    /// What the training is, see [`identity`].
    identity: Value,
}

impl State {
    pub(crate) fn new(identity: Value) -> Self {
        Self { schema: SCHEMA, steps: 0, first_loss: None, identity }
    }
}

/// Everything that the steps depend on: a checkpoint is continued only if it is equal. The
/// device is not part of it, its steps differ by rounding only.
pub(super) fn identity(training: &Training) -> Value {
    let mut identity = json!({
        "settings": training.settings.without_watching(),
        "objective": training.objective.name(),
        "teacher": training.objective.teacher_source(),
        "architecture": training.start.architecture(),
        "start": training.start.source(),
        "text": training.data.digest(),
    });
    if let Some(options) = training.objective.get().options() {
        identity["objective_options"] = options;
    }
    identity
}

/// A checkpoint on disk.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) folder: PathBuf,
    steps: u64,
}

/// The checkpoints of a training's folder, oldest first.
pub(crate) fn list(training: &Path) -> Vec<Saved> {
    let entries = fs::read_dir(training.join(FOLDER)).into_iter().flatten().flatten();
    let mut saved: Vec<Saved> = entries
        .filter_map(|entry| {
            let steps = entry.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok()?;
            Some(Saved { folder: entry.path(), steps })
        })
        .collect();
    saved.sort_by_key(|saved| saved.steps);
    saved
}

/// The folder of the checkpoint after so many steps.
pub(crate) fn folder(training: &Path, steps: u64) -> PathBuf {
    training.join(FOLDER).join(format!("{PREFIX}{steps:08}"))
}

/// What to say of the last checkpoint when a job ends because one of its ranks died.
pub(crate) fn last_good(ranks: &Ranks, checkpoint: Option<&Path>) -> String {
    let ended = format!("rank {} was ended with its job", ranks.rank());
    match checkpoint {
        Some(path) => {
            let path = path.display();
            format!("{ended}; the same command continues from {path}, the last good checkpoint")
        }
        None => format!("{ended}; there is no checkpoint yet, the same command begins anew"),
    }
}

/// Checks that all ranks are about to make the same steps from the same checkpoint.
pub(crate) fn check_ranks(
    ranks: &Ranks,
    identity: &Value,
    saved: Option<&Saved>,
) -> Result<(), TrainError> {
    let here = json!({ "identity": identity, "steps": saved.map(|saved| saved.steps) });
    let mut bytes = serde_json::to_vec(&here).map_err(std::io::Error::from)?;
    ranks.broadcast(&mut bytes);
    let there: Value = serde_json::from_slice(&bytes).map_err(std::io::Error::from)?;
    match difference(&there, &here) {
        None => Ok(()),
        Some(Difference { key, there, here }) => {
            Err(TrainError::OtherRank { rank: ranks.rank(), key, there, here })
        }
    }
}

/// Checks that all ranks have come to the same parameters, bit for bit.
pub(crate) fn check_alike(
    ranks: &Ranks,
    variables: &Variables,
    steps: u64,
) -> Result<(), TrainError> {
    if ranks.are_one() {
        return Ok(());
    }
    let here = variables.digest()?;
    let mut there = here.clone().into_bytes();
    ranks.broadcast(&mut there);
    match there == here.as_bytes() {
        true => Ok(()),
        false => Err(TrainError::RanksApart { rank: ranks.rank(), steps }),
    }
}

/// Writes a checkpoint and removes those that are no longer needed.
pub(crate) fn save(
    training: &Path,
    plm: &SuperPlm,
    variables: &Variables,
    state: &State,
) -> Result<PathBuf, TrainError> {
    let folder = folder(training, state.steps);
    if !folder.is_dir() {
        let tensors = contiguous(plm.tensors_of(plm.architecture())?)?;
        let new = begin_folder(plm, tensors, plm.architecture(), &folder)?;
        let mut tensors = Vec::new();
        for (name, moments) in variables.moments() {
            let [first, second] = moments?;
            tensors.push((format!("first.{name}"), first));
            tensors.push((format!("second.{name}"), second));
        }
        let json = serde_json::to_string_pretty(state).map_err(std::io::Error::from)?;
        let write = || -> Result<(), PlmError> {
            new.tensors(OPTIMIZER_FILE, contiguous(tensors)?)?;
            Ok(new.text(STATE_FILE, &(json + "\n"))?)
        };
        write()?;
        new.publish().map_err(PlmError::from)?;
    }
    let saved = list(training);
    for old in &saved[..saved.len().saturating_sub(KEPT)] {
        fs::remove_dir_all(&old.folder)?;
    }
    Ok(folder)
}

/// Reads the state of a checkpoint, which must be of the training that `identity` is.
pub(crate) fn read_state(saved: &Saved, identity: &Value) -> Result<State, TrainError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u64,
    }
    let path = saved.folder.join(STATE_FILE);
    let bytes = fs::read(&path)?;
    let damaged = |error: serde_json::Error| TrainError::Damaged {
        path: path.clone(),
        problem: error.to_string(),
    };
    let Version { schema } = serde_json::from_slice(&bytes).map_err(damaged)?;
    check_schema(path.display(), schema, SCHEMA)?;
    let mut state: State = serde_json::from_slice(&bytes).map_err(damaged)?;
    if schema < 2 {
        with_present_names(&mut state.identity);
        state.schema = SCHEMA;
    }
    match difference(&state.identity, identity) {
        None => Ok(state),
        Some(Difference { key, there, here }) => {
            Err(TrainError::OtherTraining { path: saved.folder.clone(), key, there, here })
        }
    }
}

/// Gives the settings of a checkpoint of schema 1 the names that they have now.
fn with_present_names(identity: &mut Value) {
    let rename = |table: &mut Value, old: &str, new: &str| {
        if let Some(table) = table.as_object_mut()
            && let Some(value) = table.remove(old)
        {
            table.insert(new.to_owned(), value);
        }
    };
    let settings = &mut identity["settings"];
    for (old, new) in [
        ("rows", "batch_size"),
        ("accumulation", "gradient_accumulation_steps"),
        ("clip_norm", "max_grad_norm"),
        ("time_budget", "time_limit"),
    ] {
        rename(settings, old, new);
    }
    if let Some(one_shot) = settings.pointer_mut("/sub_models/one_shot") {
        rename(one_shot, "at_largest", "max_width_probability");
    }
}

/// Reads the optimizer's state of a checkpoint.
pub(crate) fn restore(saved: &Saved, variables: &mut Variables) -> Result<(), TrainError> {
    let path = saved.folder.join(OPTIMIZER_FILE);
    let damaged = |problem: String| TrainError::Damaged { path: path.clone(), problem };
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu)
        .map_err(|error| damaged(error.to_string()))?;
    for (name, length) in variables.lengths() {
        let moment = |kind: &str| -> Result<Vec<f32>, TrainError> {
            let name = format!("{kind}.{name}");
            let tensor =
                tensors.get(&name).ok_or_else(|| damaged(format!("it has no tensor `{name}`")))?;
            let found: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            if found.len() != length {
                let problem =
                    format!("tensor `{name}` has {} values, expected {length}", found.len());
                return Err(damaged(problem));
            }
            Ok(found)
        };
        variables.set_moments(&name, [moment("first")?, moment("second")?])?;
    }
    Ok(())
}
