//! What a training leaves to be plotted: JSON Lines, a header and one line a step.

use std::collections::BTreeMap;
use std::path::Path;

use atb_files::{Appender, JsonLines, json_line};
use atb_ranks::Ranks;
use atb_space::Architecture;
use serde::{Deserialize, Serialize};

use super::TrainError;

/// Version of the file's schema.
const SCHEMA: u32 = 1;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum MetricsLine {
    /// The first line.
    Header {
        /// Version of the schema.
        schema: u32,
    },
    /// One optimizer step.
    Step {
        /// The step, from 0.
        step: u64,
        /// Each sub-model's loss on the step's batches, before the update.
        losses: Vec<(Architecture, f64)>,
        /// The terms that the losses are sums of, by their names, each with a value for every
        /// sub-model; empty where a loss is a single term.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        terms: BTreeMap<String, Vec<f64>>,
        /// The learning rate.
        learning_rate: f64,
        /// Norm of the summed gradient, before clipping.
        gradient_norm: f64,
        /// Tokens of the step's batches.
        tokens: u64,
        /// Time of the step, in seconds.
        seconds: f64,
        /// What several ranks exchanged; absent with one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exchange: Option<Exchange>,
    },
    /// The panel's losses on held-out text.
    Validation {
        /// Steps made before.
        step: u64,
        /// Each architecture's loss.
        losses: Vec<(Architecture, f64)>,
    },
    /// What a task's metric is on the examples that a fine-tuning holds out.
    HeldOut {
        /// Steps made before.
        step: u64,
        /// The metric.
        metric: String,
        /// Its value; null where it is not defined.
        score: Option<f64>,
    },
}

/// What a step's gradients took to be added up over the ranks, as rank 0 saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// Number of ranks.
    pub ranks: usize,
    /// Bytes that each rank gave into the sums.
    pub bytes: u64,
    /// Time until all ranks had their gradients, in seconds.
    pub waited: f64,
    /// Time of the sums themselves, in seconds.
    pub seconds: f64,
}

impl MetricsLine {
    /// Whether a training that continues after `steps` steps will not write the line again.
    fn is_before(&self, steps: u64) -> bool {
        match self {
            Self::Header { .. } => true,
            Self::Step { step, .. } => *step < steps,
            // The validation after the last step belongs to it.
            Self::Validation { step, .. } | Self::HeldOut { step, .. } => *step <= steps,
        }
    }
}

/// Appends to `metrics.jsonl`.
pub(crate) struct Metrics {
    /// None of a rank that does not write.
    file: Option<Appender>,
    /// Step and losses of the last validation in the file.
    pub(super) validated: Option<(u64, Vec<(Architecture, f64)>)>,
    /// Step and score of each line of the kind `held-out` in the file.
    pub(crate) held_out: Vec<(u64, Option<f64>)>,
}

impl Metrics {
    /// Opens the file for a training that has made `steps` steps: lines of later ones, and
    /// a torn last line, are cut off.
    /// All ranks know what rank 0 has read, and only that one writes.
    pub(crate) fn open(ranks: &Ranks, path: &Path, steps: u64) -> Result<Self, TrainError> {
        let opened = match ranks.is_first() {
            true => Some(Self::open_file(path, steps)?),
            false => None,
        };
        let known = opened.as_ref().map(|opened| (&opened.validated, &opened.held_out));
        let mut bytes = serde_json::to_vec(&known).map_err(std::io::Error::from)?;
        ranks.broadcast(&mut bytes);
        if let Some(opened) = opened {
            return Ok(opened);
        }
        let (validated, held_out) = serde_json::from_slice(&bytes).map_err(std::io::Error::from)?;
        Ok(Self { file: None, validated, held_out })
    }

    fn open_file(path: &Path, steps: u64) -> Result<Self, TrainError> {
        let mut lines = vec![MetricsLine::Header { schema: SCHEMA }];
        if steps > 0 {
            let file = JsonLines::read_or_empty(path)?;
            if !file.is_empty() {
                file.header::<MetricsLine>(SCHEMA, "the header of a training's metrics")?;
            }
            let parsed = file.lines().map_while(|line| line.parse("a line of metrics").ok());
            lines.extend(parsed.filter(|line: &MetricsLine| line.is_before(steps)));
        }
        let validated = lines.iter().rev().find_map(|line| match line {
            MetricsLine::Validation { step, losses } => Some((*step, losses.clone())),
            _ => None,
        });
        let held_out = lines.iter().filter_map(|line| match line {
            MetricsLine::HeldOut { step, score, .. } => Some((*step, *score)),
            _ => None,
        });
        let held_out = held_out.collect();
        let mut bytes = Vec::new();
        for line in &lines {
            bytes.extend(json_line(line).map_err(std::io::Error::from)?);
        }
        atb_files::write(path, &bytes)?;
        let file = Some(JsonLines::read(path)?.appender(&lines[0])?);
        Ok(Self { file, validated, held_out })
    }

    pub(crate) fn append(&mut self, line: &MetricsLine) -> Result<(), TrainError> {
        if let Some(file) = &mut self.file {
            file.append(line)?;
        }
        match line {
            MetricsLine::Validation { step, losses } => {
                self.validated = Some((*step, losses.clone()));
            }
            MetricsLine::HeldOut { step, score, .. } => self.held_out.push((*step, *score)),
            MetricsLine::Header { .. } | MetricsLine::Step { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn continuing_cuts_off_what_will_be_written_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("metrics.jsonl");
        let step = |step| MetricsLine::Step {
            step,
            losses: vec![("1-4-8-2-4".parse().expect("an architecture"), 0.5)],
            terms: BTreeMap::from([("hidden_states".to_owned(), vec![0.5])]),
            learning_rate: 1e-4,
            gradient_norm: 1.0,
            tokens: 64,
            seconds: 0.25,
            exchange: None,
        };
        let validation = |step| MetricsLine::Validation { step, losses: Vec::new() };
        let mut metrics = Metrics::open(&Ranks::alone(), &path, 0).expect("begins");
        let held_out = |step| {
            let metric = "accuracy".to_owned();
            MetricsLine::HeldOut { step, metric, score: Some(0.5) }
        };
        let before = [validation(0), step(0), step(1), validation(2), held_out(2)];
        for line in before.iter().chain(&[step(2), held_out(3)]) {
            metrics.append(line).expect("writes");
        }
        drop(metrics);
        let mut text = fs::read_to_string(&path).expect("reads");
        text.push_str("{\"kind\":\"st");
        fs::write(&path, text).expect("writes");

        let metrics = Metrics::open(&Ranks::alone(), &path, 2).expect("continues");
        assert_eq!(metrics.validated, Some((2, Vec::new())));
        assert_eq!(metrics.held_out, [(2, Some(0.5))]);
        let text = fs::read_to_string(&path).expect("reads");
        let lines: Vec<MetricsLine> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
        let header = MetricsLine::Header { schema: SCHEMA };
        assert_eq!(lines, [&[header][..], &before].concat());
    }
}
