//! What a SuperPLM keeps of its teacher: the sentence embeddings of one text.

use std::collections::HashMap;
use std::path::Path;

use atb_checkpoint::NewFolder;
use atb_text::Encoded;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use crate::PlmError;

/// What a model folder keeps of its teacher: [`TeacherEmbeddings`] of one text.
pub const EMBEDDINGS_FILE: &str = "teacher-embeddings.safetensors";

/// Version of the schema of [`EMBEDDINGS_FILE`].
const SCHEMA: u32 = 1;
const TENSOR: &str = "embeddings";

/// A teacher's sentence embeddings of one text, kept so that a SuperPLM can be scored against
/// its teacher without having it.
///
/// As a file: safetensors with `embeddings` (f16, `[texts, width]`) and in its metadata `schema`,
/// `text` (SHA-256 of the token ids) and `teacher` (where its weights come from).
#[derive(Clone, Debug)]
pub struct TeacherEmbeddings {
    /// `[texts, width]`.
    pub(crate) embeddings: Tensor,
    /// SHA-256 of the token ids.
    pub(crate) text: String,
    /// Where the teacher's weights come from.
    pub(crate) teacher: String,
}

impl TeacherEmbeddings {
    /// Whether they are of that text.
    #[must_use]
    pub fn is_of(&self, text: &Encoded) -> bool {
        self.text == text_digest(text)
    }

    /// Reads the contents of a file; `path` stands for it in messages.
    ///
    /// # Errors
    /// [`PlmError::Embeddings`], [`PlmError::File`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, PlmError> {
        let corrupt = |problem: String| PlmError::Embeddings { path: path.to_owned(), problem };
        let damaged = |error: safetensors::SafeTensorError| corrupt(error.to_string());
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let told = metadata.metadata().clone().unwrap_or_default();
        let tell = |key: &str| {
            told.get(key).cloned().ok_or_else(|| corrupt(format!("its metadata has no `{key}`")))
        };
        let schema = tell("schema")?;
        let found = schema.parse().map_err(|_| corrupt(format!("its `schema` is {schema}")))?;
        atb_files::check_schema(path.display(), found, SCHEMA)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let tensor = tensors.tensor(TENSOR).map_err(damaged)?;
        let (safetensors::Dtype::F16, &[texts, width]) = (tensor.dtype(), tensor.shape()) else {
            return Err(corrupt(format!("its `{TENSOR}` is not a matrix of f16")));
        };
        let (values, _) = tensor.data().as_chunks();
        let values: Vec<f32> =
            values.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect();
        if texts * width == 0 || !values.iter().all(|value| value.is_finite()) {
            return Err(corrupt("it holds no or not only finite values".to_owned()));
        }
        let embeddings = Tensor::from_vec(values, (texts, width), &Device::Cpu)?;
        Ok(Self { embeddings, text: tell("text")?, teacher: tell("teacher")? })
    }

    /// Adds the file to a model folder in the making.
    pub(crate) fn write(&self, folder: &NewFolder) -> Result<(), PlmError> {
        let about = HashMap::from([
            ("schema".to_owned(), SCHEMA.to_string()),
            ("text".to_owned(), self.text.clone()),
            ("teacher".to_owned(), self.teacher.clone()),
        ]);
        let values = self.embeddings.to_dtype(DType::F16)?;
        Ok(folder.tensors_about(EMBEDDINGS_FILE, [(TENSOR, values)], about)?)
    }
}

/// SHA-256 of a text's token ids, in hexadecimal.
pub(crate) fn text_digest(text: &Encoded) -> String {
    let mut hasher = Sha256::new();
    hash_text(&mut hasher, text);
    atb_files::hex(&hasher.finalize())
}

/// Adds a text's token ids to a digest.
pub(crate) fn hash_text(hasher: &mut Sha256, text: &Encoded) {
    hasher.update(format!("{} {}", text.batch, text.sequence));
    for id in text.input_ids.iter().chain(&text.attention_mask).chain(&text.token_type_ids) {
        hasher.update(id.to_le_bytes());
    }
}
