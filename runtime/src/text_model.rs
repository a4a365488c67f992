//! A bundle as an app uses it: texts in, vectors out.

use std::path::Path;

use atb_text::{Encoded, TextError, Tokenizer};

use crate::{Inputs, MODEL_FILE, Outputs, Session, SessionError};

/// Why a bundle could not be opened or run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ModelError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Session(#[from] SessionError),
}

fn inputs(encoded: Encoded) -> Inputs {
    let Encoded { input_ids, attention_mask, token_type_ids, .. } = encoded;
    Inputs { input_ids, attention_mask, token_type_ids }
}

/// A loaded bundle.
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
