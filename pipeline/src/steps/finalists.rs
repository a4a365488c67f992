//! Measuring the best of a search before one is chosen.

use std::path::Path;

use atb_measurements::{Role, Subject};
use atb_predictor::Predictor;
use atb_profiler::{Item, Plan, profile};
use atb_search::{Band, Evaluated, Outcome};
use atb_space::Architecture;
use atb_targets::Target;
use serde::{Deserialize, Serialize};

use super::profile::Progress;
use crate::{PipelineError, Reporter};

/// One of the best of a search, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// The architecture.
    pub arch: Architecture,
    /// Its loss in the search.
    pub loss: f64,
    /// Its latency as predicted before it was measured, in milliseconds.
    pub predicted_ms: f64,
    /// The prediction's interval of 90 %, in milliseconds.
    pub interval_ms: (f64, f64),
    /// Its measured latency, the mean of two measurements, in milliseconds on the predictor's
    /// scale.
    pub measured_ms: f64,
    /// Whether the measured latency lies in the budget's band.
    pub in_band: bool,
}

/// Measures the `count` best of a search on `target` into `file`, twice each so that the file
/// shows whether the numbers repeat, and says which one to take: the one of the lowest loss
/// whose measured latency lies in the band, else the one nearest to the band. It comes first;
/// the others follow in the order of their loss.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn measure_finalists(
    target: &Target,
    outcome: &Outcome,
    count: usize,
    predictor: &Predictor,
    band: &Band,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Vec<Finalist>, PipelineError> {
    let source = predictor.sources.first().ok_or_else(|| PipelineError::Setting {
        key: "the predictor's sources",
        value: "empty".to_owned(),
        expected: "the measurements it was fitted on",
        hint: None,
    })?;
    let best: Vec<&Evaluated> = outcome.ranking.iter().take(count.max(1)).collect();
    let round = |role| {
        let item = move |found: &&Evaluated| Item {
            subject: Subject::Architecture(found.arch.clone()),
            role,
        };
        best.iter().map(item)
    };
    let plan = Plan::of(round(Role::Sample).chain(round(Role::Retest)).collect());
    let measured = profile(target, &source.protocol, &plan, file, &mut Progress(reporter))?;
    reporter.end();
    let header = &measured.header;
    for difference in predictor.context_differences(&header.device, &header.agent) {
        reporter.warn(&difference);
    }
    let mut finalists = Vec::new();
    for found in best {
        let mut ratios = Vec::new();
        for record in measured.records.iter().filter(|it| it.arch() == Some(&found.arch)) {
            ratios.push(measured.statistics(record)?.ratio);
        }
        if ratios.is_empty() {
            continue;
        }
        let ratio = ratios.iter().sum::<f64>() / ratios.len() as f64;
        let measured_ms = ratio * source.reference_ms;
        let prediction = predictor.predict(&found.arch);
        finalists.push(Finalist {
            arch: found.arch.clone(),
            loss: found.fitness,
            predicted_ms: prediction.value,
            interval_ms: (prediction.low, prediction.high),
            measured_ms,
            in_band: band.contains(measured_ms),
        });
    }
    let outside = |finalist: &Finalist| {
        (band.low_ms() - finalist.measured_ms).max(finalist.measured_ms - band.high_ms()).max(0.0)
    };
    let chosen = (0..finalists.len())
        .min_by(|a, b| outside(&finalists[*a]).total_cmp(&outside(&finalists[*b])));
    if let Some(chosen) = chosen {
        finalists[..=chosen].rotate_right(1);
    }
    Ok(finalists)
}
