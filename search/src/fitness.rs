//! What a search optimises: a loss for an architecture.

use std::error::Error;

use atb_space::Architecture;

/// Whatever went wrong while an architecture was evaluated.
pub type EvaluationError = Box<dyn Error + Send + Sync>;

/// How good an architecture is; **lower is better**, as for a loss.
///
/// A search calls [`Fitness::evaluate`] at most once for each architecture, from several
/// threads at a time if its settings say so, and keeps every value in a
/// [`Store`](crate::Store). The value must depend only on the architecture and on what
/// [`Fitness::digest`] stands for, so that an interrupted search continues without
/// evaluating anything again.
///
/// ```
/// use atb_search::{EvaluationError, Fitness};
/// use atb_space::{Architecture, Cost};
///
/// /// Prefers many encoder parameters.
/// struct Large;
///
/// impl Fitness for Large {
///     fn name(&self) -> &str {
///         "negative parameters"
///     }
///     fn digest(&self) -> String {
///         "1".to_owned()
///     }
///     fn evaluate(&self, arch: &Architecture) -> Result<f64, EvaluationError> {
///         Ok(-(Cost::encoder_parameters(arch) as f64))
///     }
/// }
///
/// let s4: Architecture = "3-320-608-4-256".parse()?;
/// let s1: Architecture = "5-564-1054-8-512".parse()?;
/// assert!(Large.evaluate(&s1)? < Large.evaluate(&s4)?);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait Fitness: Sync {
    /// What is measured, for reports and for the store's header (`kd-loss`).
    fn name(&self) -> &str;

    /// A digest of everything besides the architecture that the value depends on (the
    /// SuperPLM's weights, the held-out text, the sequence length, ...). Values stored
    /// under another digest are not used.
    fn digest(&self) -> String;

    /// The architecture's loss, a finite number.
    ///
    /// # Errors
    /// Whatever kept it from being evaluated; the search ends with it, and what was
    /// evaluated before is in the store.
    fn evaluate(&self, arch: &Architecture) -> Result<f64, EvaluationError>;

    /// The losses on the parts of what the architecture is scored on, whose mean is its loss: as
    /// many for every architecture, in the same order. From the differences of two architectures'
    /// parts follows how sure the difference of their losses is; a single part tells nothing.
    ///
    /// # Errors
    /// As [`Fitness::evaluate`].
    fn parts(&self, arch: &Architecture) -> Result<Vec<f64>, EvaluationError> {
        Ok(vec![self.evaluate(arch)?])
    }

    /// The losses on the same parts of what has no layer at all and takes no time, a static table
    /// of word embeddings; `None` where the loss is not of a kind that such a table has. An
    /// architecture that is not better is not worth running.
    ///
    /// # Errors
    /// As [`Fitness::evaluate`].
    fn static_table(&self) -> Result<Option<Vec<f64>>, EvaluationError> {
        Ok(None)
    }
}
