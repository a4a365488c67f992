//! Robust location and spread of paired samples.

use serde::{Deserialize, Serialize};

use crate::Record;

/// What the raw samples of one record say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Median of the paired ratios, subject over reference: of processor times where the
    /// record has them, so that time given to other programs does not count, else of wall
    /// times.
    pub ratio: f64,
    /// Half the width of the ratio's 95 % confidence interval, relative to the ratio.
    pub ratio_half_width: f64,
    /// Median run time of the subject by the wall clock, in microseconds.
    pub median_us: f64,
    /// Median run time of the reference by the wall clock, in microseconds.
    pub reference_median_us: f64,
    /// Relative spread of the ratios: 1.4826 times their median absolute deviation, over
    /// their median (a standard deviation's robust kin).
    pub spread: f64,
}

/// The longest time that is taken for one, in microseconds: a day.
const LONGEST_US: f64 = 86_400e6;
/// The shortest time of a run that is taken for one, in microseconds: a picosecond.
const SHORTEST_US: f64 = 1e-6;

/// Why a record has no statistics.
#[derive(Clone, Debug, PartialEq, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SampleError {
    #[error("{subject} has no samples")]
    Empty { subject: String },
    #[error(
        "{subject} has {samples} samples but {reference} reference samples; they come in pairs"
    )]
    Unpaired { subject: String, samples: usize, reference: usize },
    #[error(
        "{subject} has the sample {value:?} in {list} at index {index}; times are positive \
         numbers of microseconds, up to a day"
    )]
    NotATime { subject: String, list: &'static str, index: usize, value: f64 },
    #[error("{subject} has {value:?} as {field}; times are numbers from 0 up to a day")]
    NotADuration { subject: String, field: &'static str, value: f64 },
}

/// Refuses times that no clock gives.
fn check_times(record: &Record) -> Result<(), SampleError> {
    let subject = || record.subject.to_string();
    let timed = [
        ("samples_us", &record.samples_us),
        ("reference_us", &record.reference_us),
        ("samples_cpu_us", &record.samples_cpu_us),
        ("reference_cpu_us", &record.reference_cpu_us),
    ];
    let untimed = [
        ("cold_samples_us", &record.cold_samples_us),
        ("cold_reference_us", &record.cold_reference_us),
        ("warm_up_us", &record.warm_up_us),
    ];
    let given_up = record.given_up.iter().flat_map(|pairs| {
        [
            ("given_up.samples_us", &pairs.samples_us),
            ("given_up.reference_us", &pairs.reference_us),
            ("given_up.cold_us", &pairs.cold_us),
        ]
    });
    let timed = timed.into_iter().map(|list| (list, SHORTEST_US));
    // What no statistic divides by may be shorter than the clock's resolution.
    let others = untimed.into_iter().chain(given_up).map(|list| (list, 0.0));
    for ((list, values), shortest) in timed.chain(others) {
        let is_time = |value: &f64| (shortest..=LONGEST_US).contains(value);
        if let Some(index) = values.iter().position(|value| !is_time(value)) {
            let value = values[index];
            return Err(SampleError::NotATime { subject: subject(), list, index, value });
        }
    }
    let durations = [
        ("build_ms", record.build_ms),
        ("weights_ms", record.weights_ms),
        ("elapsed_ms", record.elapsed_ms),
    ];
    let is_duration = |value: f64| (0.0..=LONGEST_US / 1e3).contains(&value);
    match durations.into_iter().find(|(_, value)| !is_duration(*value)) {
        Some((field, value)) => Err(SampleError::NotADuration { subject: subject(), field, value }),
        None => Ok(()),
    }
}

impl Statistics {
    /// The statistics of a record's raw samples.
    ///
    /// # Errors
    /// [`SampleError`] if there are no samples, they do not pair up, or one is no time that
    /// a clock gives.
    pub fn of(record: &Record) -> Result<Self, SampleError> {
        let subject = || record.subject.to_string();
        check_times(record)?;
        if record.samples_us.len() != record.reference_us.len() {
            return Err(SampleError::Unpaired {
                subject: subject(),
                samples: record.samples_us.len(),
                reference: record.reference_us.len(),
            });
        }
        let pairs = record.samples_us.len();
        let has_cpu_times =
            record.samples_cpu_us.len() == pairs && record.reference_cpu_us.len() == pairs;
        let (samples, references) = if has_cpu_times {
            (&record.samples_cpu_us, &record.reference_cpu_us)
        } else {
            (&record.samples_us, &record.reference_us)
        };
        let ratios: Vec<f64> =
            samples.iter().zip(references).map(|(sample, reference)| sample / reference).collect();
        let ratio = median(&ratios).ok_or_else(|| SampleError::Empty { subject: subject() })?;
        let deviations: Vec<f64> = ratios.iter().map(|value| (value - ratio).abs()).collect();
        let spread = 1.4826 * median(&deviations).unwrap_or(0.0) / ratio;
        // The median's standard error is sqrt(pi / 2) times the mean's for normal samples.
        let standard_error =
            (std::f64::consts::PI / 2.0).sqrt() * spread / (ratios.len() as f64).sqrt();
        Ok(Self {
            ratio,
            ratio_half_width: 1.96 * standard_error,
            median_us: median(&record.samples_us).unwrap_or(0.0),
            reference_median_us: median(&record.reference_us).unwrap_or(0.0),
            spread,
        })
    }
}

/// The median; `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 50.0)
}

/// The `p`-th percentile (0 to 100) by linear interpolation between the two nearest
/// ranks; `None` of nothing.
#[must_use]
pub fn percentile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let position = p.clamp(0.0, 100.0) / 100.0 * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, Subject};

    fn record(samples_us: Vec<f64>, reference_us: Vec<f64>) -> Record {
        let arch = "2-128-512-2-128".parse().expect("parses");
        Record {
            samples_us,
            reference_us,
            ..Record::new(Subject::architecture(arch), Role::Sample)
        }
    }

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(percentile(&[0.0, 10.0], 10.0), Some(1.0));
    }

    #[test]
    fn the_ratio_survives_a_change_of_speed_and_outliers() {
        let speed: Vec<f64> = (0..30).map(|i| if i < 15 { 1.0 } else { 1.7 }).collect();
        let samples =
            speed.iter().enumerate().map(|(i, s)| s * 3000.0 * if i % 9 == 4 { 3.0 } else { 1.0 });
        let reference = speed.iter().map(|s| s * 1000.0).collect();
        let statistics = Statistics::of(&record(samples.collect(), reference)).expect("valid");
        assert!((statistics.ratio - 3.0).abs() < 1e-9);
        assert!(statistics.ratio_half_width < 1e-9);
    }

    #[test]
    fn time_given_to_other_programs_does_not_count() {
        // Every other run of the subject waited for the processor as long as it ran.
        let wall = (0..20).map(|i| if i % 2 == 0 { 3000.0 } else { 6000.0 }).collect();
        let on_the_wall = record(wall, vec![1000.0; 20]);
        let by_cpu = Record {
            samples_cpu_us: vec![3000.0; 20],
            reference_cpu_us: vec![1000.0; 20],
            ..on_the_wall.clone()
        };
        assert_eq!(Statistics::of(&by_cpu).expect("valid").ratio, 3.0);
        assert_eq!(Statistics::of(&on_the_wall).expect("valid").ratio, 4.5);
        let unpaired = Record { samples_cpu_us: vec![3000.0; 7], ..by_cpu };
        assert_eq!(Statistics::of(&unpaired).expect("valid").ratio, 4.5);
    }

    #[test]
    fn bad_samples_are_named() {
        let error = |samples, reference| {
            Statistics::of(&record(samples, reference)).expect_err("invalid").to_string()
        };
        assert_eq!(error(vec![], vec![]), "2-128-512-2-128 has no samples");
        assert_eq!(
            error(vec![1.0, 2.0], vec![1.0]),
            "2-128-512-2-128 has 2 samples but 1 reference samples; they come in pairs"
        );
        assert_eq!(
            error(vec![1.0, -2.0], vec![1.0, 1.0]),
            "2-128-512-2-128 has the sample -2.0 in samples_us at index 1; times are positive \
             numbers of microseconds, up to a day"
        );
        assert!(error(vec![1.0], vec![f64::NAN]).contains("the sample NaN in reference_us"));
        assert!(
            error(vec![1e308], vec![1.0]).contains("the sample 1e308 in samples_us at index 0")
        );
        let wild = Record { elapsed_ms: f64::INFINITY, ..record(vec![1.0], vec![1.0]) };
        assert_eq!(
            Statistics::of(&wild).expect_err("invalid").to_string(),
            "2-128-512-2-128 has inf as elapsed_ms; times are numbers from 0 up to a day"
        );
    }
}
