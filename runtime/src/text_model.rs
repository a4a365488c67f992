//! A bundle's model and tokenizer with the outputs as they come: what checks compare.

use std::path::Path;

use atb_bundle::MODEL_FILE;
use atb_interface::{Inputs, Outputs};
use atb_text::{Encoded, Tokenizer};

use crate::error::ModelError;
use crate::session::Session;

fn inputs(encoded: Encoded) -> Inputs {
    let Encoded { input_ids, attention_mask, token_type_ids, .. } = encoded;
    Inputs { input_ids, attention_mask, token_type_ids }
}

/// The model and the tokenizer of a bundle's folder, for who compares outputs; an app takes
/// [`Model`](crate::Model).
#[derive(Debug)]
pub struct TextModel {
    tokenizer: Tokenizer,
    session: Session,
}

impl TextModel {
    /// Opens the bundle `folder`.
    ///
    /// # Errors
    /// [`ModelError`] naming the file that is missing or wrong.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let tokenizer = Tokenizer::from_folder(folder)?;
        let session = Session::open(&folder.join(MODEL_FILE))?;
        Ok(Self { tokenizer, session })
    }

    /// The bundle's tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The bundle's session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Runs any number of texts, in batches of the model's size, the last one filled up
    /// with empty texts. Longer texts are cut to the model's sequence length.
    ///
    /// # Errors
    /// [`ModelError`] if the model fails to run.
    pub fn run(&mut self, texts: &[&str]) -> Result<Vec<(Inputs, Outputs)>, ModelError> {
        let (batch, sequence) = (self.session.batch(), self.session.sequence());
        texts
            .chunks(batch)
            .map(|part| {
                let mut filled = part.to_vec();
                filled.resize(batch, "");
                let inputs = inputs(self.tokenizer.encode_batch(filled, sequence)?);
                let outputs = self.session.run(&inputs)?;
                Ok((inputs, outputs))
            })
            .collect()
    }

    /// One vector for each text: the model's embedding, where it has that output, else the
    /// mean of the last hidden state over the text's tokens.
    ///
    /// # Errors
    /// As [`TextModel::run`], and if the model has neither output.
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let batch = self.session.batch();
        let mut vectors = Vec::with_capacity(texts.len());
        for (inputs, outputs) in self.run(texts)? {
            for row in 0..batch.min(texts.len() - vectors.len()) {
                let vector = outputs.vector(row, &inputs.attention_mask);
                vectors.push(
                    vector.ok_or_else(|| self.session.no_output("embedding or token states"))?,
                );
            }
        }
        Ok(vectors)
    }
}
