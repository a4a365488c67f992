//! Measuring the best of a search before one is chosen.

use std::path::Path;

use atb_measurements::{Role, Subject};
use atb_predictor::Predictor;
use atb_profiler::{Item, Plan, profile};
use atb_search::{Band, Evaluated, Fitness};
use atb_space::Architecture;
use atb_targets::Target;
use serde::{Deserialize, Serialize};

use super::profile::Progress;
use super::standing::{LossDifference, parts};
use crate::{PipelineError, Reporter};

/// One of the best of a search, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// The architecture.
    pub arch: Architecture,
    /// Its loss in the search.
    pub loss: f64,
    /// Its loss above the lowest of the finalists'.
    pub above_lowest: LossDifference,
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

/// Measures `best`, the first of a search's ranking, on `target` into `file`, twice each so that the file
/// shows whether the numbers repeat, and says which one to take. Of those whose measured latency
/// lies in the band and whose loss the held-out text of `fitness` does not tell apart from the
/// lowest it is the fastest, or one of lower loss whose latency the two measurements do not tell
/// apart from the fastest's; without any in the band it is the one nearest to it. It comes first;
/// the others follow in the order of their loss.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn measure_finalists(
    target: &Target,
    best: &[Evaluated],
    fitness: &dyn Fitness,
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
    let plan = plan(best);
    let measured = profile(target, &source.protocol, &plan, file, &mut Progress(reporter))?;
    reporter.end();
    let header = &measured.header;
    for difference in predictor.context_differences(&header.device, &header.agent) {
        reporter.warn(&difference);
    }
    let mut finalists: Vec<Finalist> = Vec::new();
    let mut losses: Vec<Vec<f64>> = Vec::new();
    let mut spreads: Vec<f64> = Vec::new();
    for found in best {
        let mut ratios = Vec::new();
        for record in measured.records.iter().filter(|it| it.arch() == Some(&found.arch)) {
            ratios.push(measured.statistics(record)?.ratio);
        }
        if ratios.is_empty() {
            continue;
        }
        let ratio = ratios.iter().sum::<f64>() / ratios.len() as f64;
        spreads.extend(ratios.windows(2).map(|pair| (pair[1] - pair[0]) / ratio));
        let measured_ms = ratio * source.reference_ms;
        let prediction = predictor.predict(&found.arch);
        losses.push(parts(fitness, &found.arch)?);
        finalists.push(Finalist {
            arch: found.arch.clone(),
            loss: found.fitness,
            above_lowest: LossDifference::of(&losses[losses.len() - 1], &losses[0]),
            predicted_ms: prediction.value,
            interval_ms: (prediction.low, prediction.high),
            measured_ms,
            in_band: band.contains(measured_ms),
        });
    }
    if let Some(chosen) = choose(&finalists, &losses, noise(&spreads), band) {
        finalists[..=chosen].rotate_right(1);
    }
    Ok(finalists)
}

/// What [`measure_finalists`] measures.
pub(crate) fn plan(best: &[Evaluated]) -> Plan {
    let round = |role| {
        let item = move |found: &Evaluated| Item {
            subject: Subject::Architecture(found.arch.clone()),
            role,
        };
        best.iter().map(item)
    };
    Plan::of(round(Role::Sample).chain(round(Role::Retest)).collect())
}

/// By how much two means of two measurements differ at most, relatively, where nothing but noise
/// sets them apart: two standard deviations of such a difference. That is the standard deviation of
/// one measurement, for which `spreads` are known, the relative differences of measurements of one
/// and the same.
fn noise(spreads: &[f64]) -> f64 {
    let squares: f64 = spreads.iter().map(|spread| spread * spread / 2.0).sum();
    if spreads.is_empty() { 0.0 } else { 2.0 * (squares / spreads.len() as f64).sqrt() }
}

/// Which of the finalists, in the order of their loss, to take; `losses` are those of the parts of
/// the text, `noise` the relative difference of latencies up to which they count as equal.
fn choose(finalists: &[Finalist], losses: &[Vec<f64>], noise: f64, band: &Band) -> Option<usize> {
    let measured_ms = |one: &usize| finalists[*one].measured_ms;
    let in_band = || (0..finalists.len()).filter(|one| finalists[*one].in_band);
    let outside = |one: &usize| {
        let measured_ms = measured_ms(one);
        (band.low_ms() - measured_ms).max(measured_ms - band.high_ms())
    };
    match in_band().next() {
        Some(lowest) => {
            let equal: Vec<usize> = in_band()
                .filter(|one| !LossDifference::of(&losses[*one], &losses[lowest]).is_told())
                .collect();
            let fastest = equal.iter().map(measured_ms).fold(f64::INFINITY, f64::min);
            equal.into_iter().find(|one| measured_ms(one) <= fastest * (1.0 + noise))
        }
        None => (0..finalists.len()).min_by(|a, b| outside(a).total_cmp(&outside(b))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finalists as they were measured, in a band of 8.5 to 11 ms, with the losses of six texts;
    /// latencies are told apart from 1 % on.
    fn chosen(finalists: &[(f64, [f64; 6])]) -> Option<usize> {
        let band = Band::paper(10.0);
        let losses: Vec<Vec<f64>> = finalists.iter().map(|(_, losses)| losses.to_vec()).collect();
        let finalists: Vec<Finalist> = finalists
            .iter()
            .zip(&losses)
            .map(|((measured_ms, _), parts)| Finalist {
                arch: Architecture::bert_base(),
                loss: parts.iter().sum::<f64>() / parts.len() as f64,
                above_lowest: LossDifference::of(parts, &losses[0]),
                predicted_ms: *measured_ms,
                interval_ms: (*measured_ms, *measured_ms),
                measured_ms: *measured_ms,
                in_band: band.contains(*measured_ms),
            })
            .collect();
        choose(&finalists, &losses, 0.01, &band)
    }

    const LOWEST: [f64; 6] = [0.10, 0.30, 0.20, 0.40, 0.25, 0.15];
    /// Above on some texts, below on others.
    const EQUAL: [f64; 6] = [0.13, 0.28, 0.23, 0.38, 0.28, 0.13];
    /// Above on every text.
    const HIGHER: [f64; 6] = [0.11, 0.31, 0.21, 0.41, 0.26, 0.16];

    #[test]
    fn the_fastest_of_those_whose_losses_are_not_told_apart_is_taken() {
        assert_eq!(chosen(&[(10.5, LOWEST), (9.5, EQUAL), (9.0, HIGHER)]), Some(1));
        assert_eq!(chosen(&[(9.2, LOWEST), (9.5, EQUAL), (9.0, HIGHER)]), Some(0));
        assert_eq!(chosen(&[(10.5, LOWEST), (9.5, HIGHER)]), Some(0));
    }

    #[test]
    fn of_equal_losses_and_latencies_that_noise_explains_the_lowest_loss_is_taken() {
        assert_eq!(chosen(&[(9.55, LOWEST), (9.5, EQUAL)]), Some(0));
        assert_eq!(chosen(&[(10.5, LOWEST), (9.55, EQUAL), (9.5, EQUAL)]), Some(1));
        assert_eq!(chosen(&[(9.65, LOWEST), (9.5, EQUAL)]), Some(1));
    }

    #[test]
    fn the_noise_of_a_difference_of_means_is_that_of_one_measurement() {
        assert_eq!(noise(&[]), 0.0);
        assert!((noise(&[0.01, -0.01]) - 0.01 * 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_is_outside_of_the_band_is_taken_only_where_all_are() {
        assert_eq!(chosen(&[(11.5, LOWEST), (9.5, HIGHER), (7.0, EQUAL)]), Some(1));
        assert_eq!(chosen(&[(13.0, LOWEST), (12.0, EQUAL), (11.5, HIGHER)]), Some(2));
        assert_eq!(chosen(&[]), None);
    }
}
