//! What a training leaves to be plotted: JSON Lines, a header and one line a step.

use std::collections::BTreeMap;
use std::path::Path;

use atb_files::{Appender, JsonLines, json_line};
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
    },
    /// The panel's losses on held-out text.
    Validation {
        /// Steps made before.
        step: u64,
        /// Each architecture's loss.
        losses: Vec<(Architecture, f64)>,
    },
}

impl MetricsLine {
    /// Whether a training that continues after `steps` steps will not write the line again.
    fn is_before(&self, steps: u64) -> bool {
        match self {
            Self::Header { .. } => true,
            Self::Step { step, .. } => *step < steps,
            // The validation after the last step belongs to it.
            Self::Validation { step, .. } => *step <= steps,
        }
    }
}

/// Appends to `metrics.jsonl`.
pub(super) struct Metrics {
    file: Appender,
    /// Step of the last validation in the file.
    pub(super) validated: Option<u64>,
}

impl Metrics {
    /// Opens the file for a training that has made `steps` steps: lines of later ones, and
    /// a torn last line, are cut off.
    pub(super) fn open(path: &Path, steps: u64) -> Result<Self, TrainError> {
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
            MetricsLine::Validation { step, .. } => Some(*step),
            _ => None,
        });
        let mut bytes = Vec::new();
        for line in &lines {
            bytes.extend(json_line(line).map_err(std::io::Error::from)?);
        }
        atb_files::write(path, &bytes)?;
        Ok(Self { file: JsonLines::read(path)?.appender(&lines[0])?, validated })
    }

    pub(super) fn append(&mut self, line: &MetricsLine) -> Result<(), TrainError> {
        self.file.append(line)?;
        if let MetricsLine::Validation { step, .. } = line {
            self.validated = Some(*step);
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
        };
        let validation = |step| MetricsLine::Validation { step, losses: Vec::new() };
        let mut metrics = Metrics::open(&path, 0).expect("begins");
        for line in [validation(0), step(0), step(1), validation(2), step(2)] {
            metrics.append(&line).expect("writes");
        }
        drop(metrics);
        let mut text = fs::read_to_string(&path).expect("reads");
        text.push_str("{\"kind\":\"st");
        fs::write(&path, text).expect("writes");

        let metrics = Metrics::open(&path, 2).expect("continues");
        assert_eq!(metrics.validated, Some(2));
        let text = fs::read_to_string(&path).expect("reads");
        let lines: Vec<MetricsLine> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
        let header = MetricsLine::Header { schema: SCHEMA };
        assert_eq!(lines, [header, validation(0), step(0), step(1), validation(2)]);
    }
}
