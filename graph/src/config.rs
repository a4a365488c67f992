//! What a network has beyond its architecture: sizes of its tables, and its heads.

use atb_interface::{Dense, Head, OutputShape};
use atb_space::{Precision, Workload};

/// A head with its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkHead {
    /// The head.
    pub head: &'static Head,
    /// Its linear layer as the checkpoint has it: some projections have a bias, others none.
    pub dense: Option<Dense>,
    /// Outputs of its linear layer; of no account for a head without one.
    pub width: usize,
}

/// What a network has that its architecture does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// Entries of the word embeddings.
    pub vocab_size: usize,
    /// Token types (BERT has two).
    pub type_vocab_size: usize,
    /// Epsilon of every LayerNorm.
    pub layer_norm_eps: f32,
    /// What the word embeddings and the encoder's products are; heads are f32.
    pub precision: Precision,
    /// The heads whose outputs the network gives, in the order of the outputs.
    pub heads: Vec<NetworkHead>,
}

/// Why a checkpoint does not have a head.
#[derive(Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("the model has no head `{head}`: it lacks the tensor `{tensor}`")]
    #[diagnostic(help("leave the choice of heads away to take those that the model has"))]
    NoHead { head: &'static str, tensor: String },
    #[error(
        "the head `{head}` does not take a `{tensor}` of the shape {shape:?} after {hidden} hidden values"
    )]
    #[diagnostic(help("take another head, or write the model folder again"))]
    Shape { head: &'static str, tensor: String, shape: Vec<usize>, hidden: usize },
}

impl NetworkConfig {
    /// BERT's encoder with its pooler and BERT's sizes, but for `vocab_size` words; what
    /// profiling uses.
    #[must_use]
    pub fn encoder(vocab_size: usize) -> Self {
        let head = |head: &'static Head| NetworkHead { head, dense: head.dense, width: 0 };
        let heads = vec![head(&Head::STATES), head(&Head::POOLER)];
        let precision = Precision::default();
        Self { vocab_size, type_vocab_size: 2, layer_norm_eps: 1e-12, precision, heads }
    }

    /// Name and shape of every output, in order.
    #[must_use]
    pub fn outputs(&self, hidden: usize, workload: Workload) -> Vec<OutputShape> {
        let sizes = [workload.batch, workload.sequence];
        let of_head = |NetworkHead { head, width, .. }: &NetworkHead| {
            let width = *width;
            head.outputs.iter().map(move |output| OutputShape {
                name: output.name.to_owned(),
                shape: output.shape(sizes, hidden, width),
            })
        };
        self.heads.iter().flat_map(of_head).collect()
    }

    /// `heads` as a checkpoint has them: `shape` gives the shape of a tensor by its Hugging
    /// Face name, `None` if there is none.
    ///
    /// # Errors
    /// [`ConfigError`] naming the tensor that is missing or misshapen.
    pub fn sized_heads(
        heads: &[&'static Head],
        hidden: usize,
        shape: impl Fn(&str) -> Option<Vec<usize>>,
    ) -> Result<Vec<NetworkHead>, ConfigError> {
        let sized = |head: &&'static Head| {
            let mut width = 0;
            for tensor in head.weights() {
                let Some(found) = shape(&tensor) else {
                    return Err(ConfigError::NoHead { head: head.name, tensor });
                };
                let Some(dense) = head.dense.filter(|dense| dense.weight() == tensor) else {
                    continue;
                };
                width = match found[..] {
                    [rows, columns] if columns == hidden => dense.outputs(hidden, rows),
                    _ => None,
                }
                .ok_or(ConfigError::Shape {
                    head: head.name,
                    tensor,
                    shape: found,
                    hidden,
                })?;
            }
            let dense = head.dense.map(|dense| {
                let bias = dense.bias || shape(&format!("{}.bias", dense.module)).is_some();
                Dense { bias, ..dense }
            });
            Ok(NetworkHead { head, dense, width })
        };
        heads.iter().map(sized).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_take_their_size_from_the_checkpoint() {
        let shape = |name: &str| match name {
            "pooler.dense.weight" => Some(vec![8, 8]),
            "classifier.weight" => Some(vec![3, 8]),
            "qa_outputs.weight" => Some(vec![3, 8]),
            _ => None,
        };
        let sized =
            |name: &str| NetworkConfig::sized_heads(&[Head::named(name).expect(name)], 8, shape);
        assert_eq!(sized("states").expect("is there")[0].width, 0);
        assert_eq!(sized("sequence-classification").expect("is there")[0].width, 3);
        let error = sized("question-answering").expect_err("three columns").to_string();
        assert!(error.contains("`qa_outputs.weight` of the shape [3, 8]"), "{error}");
        let error = sized("embedding").expect_err("none").to_string();
        assert_eq!(
            error,
            "the model has no head `embedding`: it lacks the tensor `kd_projection.weight`"
        );
    }
}
