//! Running many texts of different lengths on all cores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use atb_checkpoint::{Checkpoint, CheckpointError};
use atb_graph::{HfWeights, Network, NetworkConfig};
use atb_interface::{Head, Inputs, Meaning, OutputShape, Outputs};
use atb_runtime::Session;
use atb_space::{Precision, Workload};
use atb_text::{TextInput, Tokenizer};
use rayon::prelude::*;

use super::words::Words;
use super::{Model, Wanted};
use crate::TaskError;

/// Sequence lengths that a model folder is run at: each text at the smallest that holds it.
const LENGTHS: [usize; 9] = [16, 24, 32, 48, 64, 96, 128, 256, 512];

/// Tokens at a time, padding included.
const TOKENS: usize = 512;

/// Token ids of one text or pair, special ones included, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<i64>,
    /// Zero for the first text, one for the second.
    pub(crate) types: Vec<i64>,
}

impl Tokens {
    /// The tokens of a text or pair, of at most `longest`.
    pub(crate) fn of(
        input: TextInput<'_>,
        tokenizer: &Tokenizer,
        longest: usize,
    ) -> Result<Self, TaskError> {
        let encoded = tokenizer.encode_batch([input], longest)?;
        let count = encoded.real_tokens();
        Ok(Self {
            ids: encoded.input_ids[..count].to_vec(),
            types: encoded.token_type_ids[..count].to_vec(),
        })
    }
}

/// What a model is made of.
pub(super) enum Body {
    /// A model folder.
    Folder(Arc<Checkpoint>),
    /// An ONNX file of one shape.
    File { path: PathBuf, batch: usize, sequence: usize, outputs: Vec<OutputShape> },
    /// Word embeddings alone.
    Words(Words),
}

/// What a model gave for one text of a batch.
pub(crate) struct RowOutputs<'a> {
    outputs: &'a Outputs,
    row: usize,
    attention_mask: &'a [i64],
}

impl<'a> RowOutputs<'a> {
    /// The text's part of the output of this meaning.
    pub(crate) fn values(&self, meaning: Meaning) -> Option<&'a [f32]> {
        self.outputs.meaning(meaning)?.row(self.row)
    }

    /// The text's vector.
    pub(crate) fn vector(&self) -> Option<Vec<f32>> {
        self.outputs.vector(self.row, self.attention_mask)
    }
}

/// Texts that run in batches of one shape.
struct Job {
    batch: usize,
    sequence: usize,
    rows: Vec<usize>,
}

impl Model {
    /// Runs every text, none of which is longer than [`Model::longest`] says, and takes what
    /// `take` wants of its outputs, in the order of the texts.
    pub(crate) fn run<T: Send>(
        &self,
        rows: &[Tokens],
        wanted: Wanted,
        task: &str,
        take: impl Fn(RowOutputs<'_>) -> Option<T> + Sync,
    ) -> Result<Vec<T>, TaskError> {
        let threads = rayon::current_num_threads().max(1);
        let (jobs, head) = match &self.body {
            Body::Folder(checkpoint) => {
                let limit = checkpoint.config().max_position_embeddings;
                (jobs(rows, limit, threads), Some(self.heads(checkpoint, wanted, task)?))
            }
            Body::File { batch, sequence, outputs, .. } => {
                let has = |output: &OutputShape| {
                    output.meaning().is_some_and(|meaning| wanted.meanings().contains(&meaning))
                };
                if !outputs.iter().any(has) {
                    return Err(self.no_output(wanted, task));
                }
                let rows = (0..rows.len()).collect();
                (vec![Job { batch: *batch, sequence: *sequence, rows }], None)
            }
            Body::Words(_) => return Err(self.no_output(wanted, task)),
        };
        let mut results: Vec<Option<T>> = rows.iter().map(|_| None).collect();
        for job in jobs {
            let batches: Vec<&[usize]> = job.rows.chunks(job.batch).collect();
            let share = batches.len().div_ceil(threads).max(1);
            let done = batches.par_chunks(share).map(|batches| {
                let mut session = self.session(&job, head)?;
                let mut done = Vec::with_capacity(batches.len() * job.batch);
                for batch in batches {
                    let inputs = self.inputs(rows, batch, &job);
                    let (outputs, attention_mask) =
                        (&session.run(&inputs)?, &*inputs.attention_mask);
                    for (row, index) in batch.iter().enumerate() {
                        let row = RowOutputs { outputs, row, attention_mask };
                        let taken = take(row).ok_or_else(|| self.no_output(wanted, task))?;
                        done.push((*index, taken));
                    }
                }
                Ok::<_, TaskError>(done)
            });
            for (index, taken) in done.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                results[index] = Some(taken);
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// A session of the job's shape.
    fn session(&self, job: &Job, head: Option<&'static Head>) -> Result<Session, TaskError> {
        let checkpoint = match &self.body {
            Body::Folder(checkpoint) => checkpoint.clone(),
            Body::File { path, .. } => return Ok(Session::open(path)?),
            Body::Words(_) => return Err(TaskError::NoWords { model: self.name.clone() }),
        };
        let config = checkpoint.config();
        let heads: Vec<&'static Head> = head.into_iter().collect();
        let shape = |name: &str| checkpoint.shape(name).map(<[usize]>::to_vec);
        let network_config = NetworkConfig {
            vocab_size: config.vocab_size,
            type_vocab_size: config.type_vocab_size,
            layer_norm_eps: config.layer_norm_eps as f32,
            precision: Precision::F32,
            heads: NetworkConfig::sized_heads(&heads, config.architecture.hidden(), shape)?,
        };
        let workload = Workload { batch: job.batch, sequence: job.sequence };
        let network = Network::new(&config.architecture, workload, &network_config);
        let skeleton = network.skeleton();
        let weights = move |offset, length| {
            let read = |name: &str| -> Result<_, CheckpointError> { checkpoint.tensor(name) };
            network
                .fill_range(&HfWeights::new(read), offset, length)
                .map_err(|error| error.to_string())
        };
        Ok(Session::with_external_data(&self.name, &skeleton, 1, weights)?)
    }

    fn inputs(&self, rows: &[Tokens], batch: &[usize], job: &Job) -> Inputs {
        let (size, specials) = (job.batch * job.sequence, self.tokenizer.specials());
        let mut inputs = Inputs {
            input_ids: vec![specials.padding; size],
            attention_mask: vec![0; size],
            token_type_ids: vec![0; size],
        };
        for row in 0..job.batch {
            let start = row * job.sequence;
            match batch.get(row) {
                Some(index) => {
                    let Tokens { ids, types } = &rows[*index];
                    let end = start + ids.len();
                    inputs.input_ids[start..end].copy_from_slice(ids);
                    inputs.token_type_ids[start..end].copy_from_slice(types);
                    inputs.attention_mask[start..end].fill(1);
                }
                // A row that nobody asks for needs a token to look at.
                None => inputs.attention_mask[start] = 1,
            }
        }
        inputs
    }
}

/// The texts by the shape that they run in.
fn jobs(rows: &[Tokens], limit: usize, threads: usize) -> Vec<Job> {
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let fits = |length: &&usize| **length >= row.ids.len();
        let length = LENGTHS.iter().find(fits).map_or(limit, |length| (*length).min(limit));
        by_length.entry(length).or_default().push(index);
    }
    let job = |(sequence, rows): (usize, Vec<usize>)| {
        let most = rows.len().div_ceil(threads);
        Job { batch: (TOKENS / sequence).clamp(1, most.max(1)), sequence, rows }
    };
    by_length.into_iter().map(job).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_runs_once_at_a_length_that_holds_it() {
        let row = |length: usize| Tokens { ids: vec![0; length], types: vec![0; length] };
        let rows: Vec<Tokens> = [3, 16, 17, 100, 300, 290].into_iter().map(row).collect();
        let jobs = jobs(&rows, 300, 2);
        let shapes: Vec<(usize, usize, &[usize])> =
            jobs.iter().map(|job| (job.batch, job.sequence, &job.rows[..])).collect();
        assert_eq!(
            shapes,
            [(1, 16, &[0, 1][..]), (1, 24, &[2]), (1, 128, &[3]), (1, 300, &[4, 5])]
        );
    }
}
