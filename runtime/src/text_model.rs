//! A bundle as an app uses it: texts in, vectors out.

use std::path::Path;

use atb_text::{Encoded, TextError, Tokenizer};

use crate::{Inputs, MODEL_FILE, Outputs, Session, SessionError};

/// Why a bundle could not be opened or run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ModelError {
    /// the tokenizer's files or a text are at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    /// the model is at fault
    #[error(transparent)]
    #[diagnostic(transparent)]
    Session(#[from] SessionError),
}

impl From<Encoded> for Inputs {
    fn from(encoded: Encoded) -> Self {
        Self {
            input_ids: encoded.input_ids,
            attention_mask: encoded.attention_mask,
            token_type_ids: encoded.token_type_ids,
        }
    }
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
                let inputs = Inputs::from(self.tokenizer.encode_batch(filled, sequence)?);
                let outputs = self.session.run(&inputs)?;
                Ok((inputs, outputs))
            })
            .collect()
    }

    /// One vector for each text: the mean of the last hidden state over its tokens.
    ///
    /// # Errors
    /// As [`TextModel::run`].
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let (batch, sequence) = (self.session.batch(), self.session.sequence());
        let mut vectors = Vec::with_capacity(texts.len());
        for (inputs, outputs) in self.run(texts)? {
            let hidden = outputs.last_hidden_state.len() / (batch * sequence);
            for row in 0..batch.min(texts.len() - vectors.len()) {
                let mut vector = vec![0.0; hidden];
                let mut tokens = 0.0;
                for token in row * sequence..(row + 1) * sequence {
                    if inputs.attention_mask[token] == 0 {
                        continue;
                    }
                    tokens += 1.0;
                    let state = &outputs.last_hidden_state[token * hidden..(token + 1) * hidden];
                    vector.iter_mut().zip(state).for_each(|(sum, value)| *sum += value);
                }
                vector.iter_mut().for_each(|sum| *sum /= tokens);
                vectors.push(vector);
            }
        }
        Ok(vectors)
    }
}
