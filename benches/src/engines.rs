//! What engines took on the same files, sample by sample, and the ratios of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use atb_measurements::{median, percentile};
use atb_space::Precision;
use serde::{Deserialize, Serialize};

/// The samples of one engine on one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The architecture of the file.
    pub architecture: String,
    /// Heads that the file has.
    pub heads: Vec<String>,
    /// What its weights are.
    #[serde(default)]
    pub precision: Precision,
    /// Threads of the engine.
    #[serde(default = "one")]
    pub threads: usize,
    /// Tokens of the text; the rest of the file's length is padding.
    pub tokens: usize,
    /// The engine.
    pub engine: String,
    /// Of processor time on one thread, else by the clock, in the order of the rounds; those of the
    /// same round were taken one after the other.
    pub microseconds: Vec<f64>,
}

fn one() -> usize {
    1
}

/// Under which conditions samples were taken; `conditions.json` beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Version of the schema: 1.
    pub schema: u32,
    /// The kind of machine.
    pub machine: String,
    /// The day, `YYYY-MM-DD`.
    pub date: String,
    /// What was counted: processor time, or time by the clock.
    pub measure: String,
    /// Version of each engine.
    pub versions: BTreeMap<String, String>,
}

/// Reads the samples in the file at `path`.
///
/// # Errors
/// If it cannot be read, naming the line.
pub fn read(path: &Path) -> Result<Vec<Series>> {
    let text = fs_err::read_to_string(path)?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}: line {}", path.display(), number + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

/// A ratio of paired samples: the median and the quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median.
    pub middle: f64,
    /// A quarter of the ratios are lower.
    pub low: f64,
    /// A quarter are higher.
    pub high: f64,
}

impl Ratio {
    /// Of `mine` over `base`, pair by pair.
    ///
    /// # Errors
    /// If there are none.
    pub fn of(mine: &[f64], base: &[f64]) -> Result<Self> {
        let ratios: Vec<f64> = mine.iter().zip(base).map(|(a, b)| a / b).collect();
        let percentile = |p| percentile(&ratios, p).context("no samples");
        let middle = median(&ratios).context("no samples")?;
        Ok(Self { middle, low: percentile(25.0)?, high: percentile(75.0)? })
    }
}

/// What one engine took of the time of the one that all are compared with, on texts of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Tokens of the texts.
    pub tokens: usize,
    /// The engine.
    pub engine: String,
    /// For each architecture its latency in the engine that all are compared with, in milliseconds,
    /// and the ratio.
    pub ratios: Vec<(String, f64, Ratio)>,
}

impl Compared {
    /// The geometric mean of the ratios.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let logarithms = self.ratios.iter().map(|(_, _, ratio)| ratio.middle.ln());
        (logarithms.sum::<f64>() / self.ratios.len() as f64).exp()
    }

    /// The lowest and the highest ratio of an architecture.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let middles = || self.ratios.iter().map(|(_, _, ratio)| ratio.middle);
        (middles().fold(f64::INFINITY, f64::min), middles().fold(0.0, f64::max))
    }

    /// Half of the distance between the quartiles over the median, the median of it over the
    /// architectures: how far ratios of single pairs scatter.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let half = |(_, _, it): &(String, f64, Ratio)| (it.high - it.low) / 2.0 / it.middle;
        median(&self.ratios.iter().map(half).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    }
}

/// Each engine beside `reference`, text length by text length, in the order of the samples.
///
/// # Errors
/// If an engine lacks samples that the reference has.
pub fn compared(all: &[Series], reference: &str) -> Result<Vec<Compared>> {
    let mut found: Vec<Compared> = Vec::new();
    for series in all.iter().filter(|series| series.engine != reference) {
        let is_base = |it: &&Series| {
            it.engine == reference
                && (&it.architecture, it.tokens) == (&series.architecture, series.tokens)
        };
        let base = all
            .iter()
            .find(is_base)
            .with_context(|| format!("{} has no samples of {}", reference, series.architecture))?;
        let ratio = Ratio::of(&series.microseconds, &base.microseconds)?;
        let row = (series.architecture.clone(), milliseconds(base), ratio);
        let same = |it: &&mut Compared| (it.tokens, &it.engine) == (series.tokens, &series.engine);
        match found.iter_mut().find(same) {
            Some(known) => known.ratios.push(row),
            None => found.push(Compared {
                tokens: series.tokens,
                engine: series.engine.clone(),
                ratios: vec![row],
            }),
        }
    }
    Ok(found)
}

fn milliseconds(series: &Series) -> f64 {
    median(&series.microseconds).unwrap_or(f64::NAN) / 1e3
}

/// A table for each number of tokens; ratios are to the last engine.
///
/// # Errors
/// If there are no samples, or an engine lacks some.
pub fn table(all: &[Series]) -> Result<String> {
    let reference = &all.last().context("no engine")?.engine;
    let compared = compared(all, reference)?;
    let mut lengths: Vec<usize> = compared.iter().map(|it| it.tokens).collect();
    lengths.dedup();
    let mut text = String::new();
    for tokens in lengths {
        let engines: Vec<&Compared> = compared.iter().filter(|it| it.tokens == tokens).collect();
        writeln!(text, "### {tokens} tokens\n")?;
        write!(text, "| architecture | {reference} |")?;
        for it in &engines {
            write!(text, " {} | ratio |", it.engine)?;
        }
        write!(text, "\n|---|---:|")?;
        text.push_str(&"---:|---:|".repeat(engines.len()));
        text.push('\n');
        let rows = engines.first().map_or(0, |it| it.ratios.len());
        for row in 0..rows {
            for (index, it) in engines.iter().enumerate() {
                let (name, base, ratio) = it.ratios.get(row).context("no samples")?;
                if index == 0 {
                    write!(text, "| {name} | {base:.2} ms |")?;
                }
                let of = |series: &&Series| {
                    (&series.architecture, series.tokens, &series.engine)
                        == (name, tokens, &it.engine)
                };
                let mine = all.iter().find(of).map_or(f64::NAN, milliseconds);
                let Ratio { middle, low, high } = ratio;
                write!(text, " {mine:.2} ms | {middle:.3} ({low:.2} to {high:.2}) |")?;
            }
            text.push('\n');
        }
        write!(text, "| geometric mean | |")?;
        for it in &engines {
            write!(text, " | {:.3} |", it.mean())?;
        }
        text.push_str("\n\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_pairs() {
        let series = |engine: &str, microseconds: &[f64]| Series {
            architecture: "a".to_owned(),
            heads: Vec::new(),
            precision: Precision::F32,
            threads: 1,
            tokens: 8,
            engine: engine.to_owned(),
            microseconds: microseconds.to_vec(),
        };
        // Twice as slow a moment touches both of a pair.
        let all =
            [series("ours", &[1000.0, 2000.0, 1100.0]), series("other", &[2000.0, 4000.0, 2200.0])];
        let compared = compared(&all, "other").expect("both are there");
        assert_eq!(compared[0].ratios[0].2, Ratio { middle: 0.5, low: 0.5, high: 0.5 });
        assert_eq!((compared[0].mean(), compared[0].spread()), (0.5, 0.0));
        let table = table(&all).expect("a table");
        assert!(table.contains("| a | 2.20 ms | 1.10 ms | 0.500 (0.50 to 0.50) |"), "{table}");
    }
}
