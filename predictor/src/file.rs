//! The predictor file: JSON with a schema version; files of former schemas are still read.

use std::io;
use std::path::{Path, PathBuf};

use atb_files::{FileError, check_schema};
use atb_settings::Checked;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::predictor::{Predictor, SCHEMA};

/// Why a predictor file could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PredictorFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error("{} holds a `{kind}` model, which this version no longer reads", path.display())]
    #[diagnostic(help("fit it again from the same measurements with `atb fit`"))]
    RetiredKind { path: PathBuf, kind: String },
    #[error("{} is not a predictor: {problem}", path.display())]
    #[diagnostic(help("predictors are written by `atb fit`"))]
    Content { path: PathBuf, problem: String },
}

/// What decides how the rest of a file is read.
#[derive(Deserialize)]
struct Head {
    schema: u64,
    model: Option<ModelHead>,
}

#[derive(Deserialize)]
struct ModelHead {
    kind: String,
}

/// The file: the predictor and the unit of its values.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    predictor: &'a Predictor,
    unit: &'static str,
}

impl Predictor {
    /// Reads a predictor file.
    ///
    /// # Errors
    /// [`PredictorFileError`] naming the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, PredictorFileError> {
        let text = fs::read_to_string(path)?;
        let refused =
            |problem: String| PredictorFileError::Content { path: path.to_owned(), problem };
        let content = |error: serde_json::Error| refused(error.to_string());
        let head: Head = serde_json::from_str(&text).map_err(content)?;
        check_schema(path.display(), head.schema, SCHEMA)?;
        let is_retired = |model: &ModelHead| Kind::RETIRED.contains(&model.kind.as_str());
        if let Some(ModelHead { kind }) = head.model.filter(is_retired) {
            return Err(PredictorFileError::RetiredKind { path: path.to_owned(), kind });
        }
        let predictor: Self = match head.schema == u64::from(SCHEMA) {
            true => serde_json::from_str(&text),
            false => serde_json::from_str(&text)
                .and_then(|old| serde_json::from_value(of_first_schema(old))),
        }
        .map_err(content)?;
        predictor.space.validate().map_err(|error| refused(error.to_string()))?;
        predictor.checked().map_err(|error| refused(error.to_string()))?;
        Ok(predictor)
    }

    /// Writes the predictor file, through a temporary file in the same folder.
    ///
    /// # Errors
    /// [`PredictorFileError::Io`]; an existing file is then as it was.
    pub fn save(&self, path: &Path) -> Result<(), PredictorFileError> {
        let written = Written { predictor: self, unit: self.unit() };
        Ok(atb_files::write_json(path, &written)?)
    }
}

/// A file of schema 1 in the keys of schema 2: there every value was called a latency in
/// milliseconds, and what it really was stood with each source.
fn of_first_schema(mut old: Value) -> Value {
    let Some(file) = old.as_object_mut() else { return old };
    file.insert("schema".to_owned(), SCHEMA.into());
    file.remove("choice");
    let quantity = file
        .get("sources")
        .and_then(|sources| sources.get(0)?.get("quantity").cloned())
        .unwrap_or_else(|| "latency".into());
    file.insert("quantity".to_owned(), quantity);
    for baseline in list(file.get_mut("baselines")) {
        rename(baseline, "latency_ms", "value");
    }
    if let Some(Value::Object(validation)) = file.get_mut("validation") {
        if let Some(Value::Object(metrics)) = validation.get_mut("metrics") {
            rename(metrics, "rmse_ms", "rmse");
        }
        for worst in list(validation.get_mut("worst")) {
            rename(worst, "measured_ms", "measured");
            rename(worst, "predicted_ms", "predicted");
        }
    }
    old
}

fn list(value: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    value.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
