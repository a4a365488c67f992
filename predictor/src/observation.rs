//! From measurement files to what a predictor is fitted on: one value per architecture.

use std::collections::BTreeMap;

use atb_measurements::{
    AgentContext, DeviceContext, FileError, MeasurementFile, Protocol, Quantity, Record, Role,
    median,
};
use atb_space::{Architecture, Workload};
use serde::{Deserialize, Serialize};

/// The measured value of one architecture, averaged over its records, in the unit of
/// [`Observations::quantity`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What was measured.
    pub arch: Architecture,
    /// Batch and sequence length it was measured with.
    pub workload: Workload,
    /// Mean over the records.
    pub value: f64,
    /// By the first record alone: what one measurement says.
    pub first: f64,
    /// Relative spread of the raw paired ratios, mean over the records
    /// ([`atb_measurements::Statistics::spread`]).
    pub spread: f64,
    /// Number of records that were averaged.
    pub records: usize,
}

/// Where observations come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name of the measurement file, without its folder.
    pub file: String,
    /// SHA-256 of its complete lines, in hexadecimal.
    pub digest: String,
    /// Name of the target.
    pub target: String,
    /// Latency of the protocol's reference model, in milliseconds.
    pub reference_ms: f64,
    /// The protocol of every record.
    pub protocol: Protocol,
    /// The device as it was when the file was begun.
    pub device: DeviceContext,
    /// The agent that measured.
    pub agent: AgentContext,
}

/// How far one measurement can be trusted: the error below which no predictor can get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Mean relative error of one measurement by test and retest: the mean difference of
    /// two records of the same architecture over the square root of two.
    pub retest: Option<f64>,
    /// Number of architectures that were measured twice.
    pub pairs: usize,
    /// The same from within the records: half the mean difference between a record's even
    /// and odd pairs. Sees only what changes within one measurement, so it is a lower bound.
    pub split_half: Option<f64>,
}

impl NoiseFloor {
    /// The better founded of the two: by retests if there are any.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.retest.or(self.split_half)
    }
}

/// Everything measured of one device, ready to be fitted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Observations {
    /// What was measured, and so the unit of the values.
    pub quantity: Quantity,
    /// One for each architecture and workload, in the order first measured. Records of
    /// the roles [`Role::Sample`] and [`Role::Retest`]; the others are not fitted on.
    pub items: Vec<Observation>,
    /// The architectures that speed-ups are quoted against ([`Role::Baseline`]).
    pub baselines: Vec<Observation>,
    /// Measurements of chosen architectures, to compare with predictions ([`Role::Check`]).
    pub checks: Vec<Observation>,
    /// What the data can be trusted to.
    pub noise: NoiseFloor,
    /// The files they come from.
    pub sources: Vec<Source>,
}

/// Why measurements could not be used together.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ObservationError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error("no measurement file was given")]
    #[diagnostic(help("`atb profile` writes one"))]
    NoFile,
    #[error("{file}: {arch} has no {quantity}")]
    #[diagnostic(help("measure it again: the device or the agent of that time did not tell it"))]
    NoValue { file: String, arch: String, quantity: Quantity },
    #[error("{file}: the {quantity} of {arch} is {value}, which is not a positive number")]
    #[diagnostic(help("remove its line from the file and measure it again"))]
    Value { file: String, arch: String, quantity: Quantity, value: f64 },
    #[error(
        "{first} and {other} do not go together: they were measured with another {what} \
         ({first_value} and {other_value})"
    )]
    #[diagnostic(help("fit one predictor for each"))]
    Mixed {
        first: String,
        other: String,
        what: &'static str,
        first_value: String,
        other_value: String,
    },
}

/// One usable record: where it belongs, its value and its spread.
struct Measured<'a> {
    record: &'a Record,
    arch: &'a Architecture,
    workload: Workload,
    value: f64,
    spread: f64,
}

impl Observations {
    /// The observations of one measurement file.
    ///
    /// # Errors
    /// As [`Observations::from_files`].
    pub fn from_file(file: &MeasurementFile) -> Result<Self, ObservationError> {
        Self::from_files(std::slice::from_ref(file))
    }

    /// The observations of several files of one device, which may differ in batch and
    /// sequence length. Files of one workload are brought to one reference latency, the
    /// median of theirs.
    ///
    /// # Errors
    /// [`ObservationError`] if there is no file, one holds no measurement, or they differ
    /// in target, runtime, precision, threads or reference model.
    pub fn from_files(files: &[MeasurementFile]) -> Result<Self, ObservationError> {
        Self::of_quantity(files, Quantity::Latency)
    }

    /// As [`Observations::from_files`], of another quantity than the latency.
    ///
    /// # Errors
    /// As [`Observations::from_files`], or if a record does not tell the quantity.
    pub fn of_quantity(
        files: &[MeasurementFile],
        quantity: Quantity,
    ) -> Result<Self, ObservationError> {
        let first = files.first().ok_or(ObservationError::NoFile)?;
        for other in files {
            check_together(first, other)?;
        }
        let mut sources = Vec::new();
        let mut measured = Vec::new();
        for file in files {
            let workload = file.header.protocol.workload;
            let mut references = Vec::new();
            for same in files.iter().filter(|same| same.header.protocol.workload == workload) {
                references.push(same.reference_ms()?);
            }
            let reference_ms = median(&references).ok_or(ObservationError::NoFile)?;
            sources.push(source(file, reference_ms));
            for record in &file.records {
                let Some(arch) = record.arch() else { continue };
                let statistics = file.statistics(record)?;
                let value = match quantity {
                    // On the scale that all files of the workload share.
                    Quantity::Latency => statistics.ratio * reference_ms,
                    other => file.value(record, other)?.ok_or_else(|| {
                        let arch = arch.to_string();
                        ObservationError::NoValue { file: file_name(file), arch, quantity }
                    })?,
                };
                let spread = statistics.spread;
                for value in [value, spread + 1.0] {
                    if !(value.is_finite() && value > 0.0) {
                        return Err(ObservationError::Value {
                            file: file_name(file),
                            arch: arch.to_string(),
                            quantity,
                            value,
                        });
                    }
                }
                measured.push(Measured { record, arch, workload, value, spread });
            }
        }
        let of = |roles: &[Role]| -> Vec<&Measured> {
            measured.iter().filter(|item| roles.contains(&item.record.role)).collect()
        };
        let samples = of(&[Role::Sample, Role::Retest]);
        let mut noise = noise_floor(&samples);
        if quantity != Quantity::Latency {
            // Halves of the timed runs say nothing about other quantities.
            noise.split_half = None;
        }
        Ok(Self {
            quantity,
            items: average(&samples),
            baselines: average(&of(&[Role::Baseline])),
            checks: average(&of(&[Role::Check])),
            noise,
            sources,
        })
    }
}

impl Observations {
    /// The observations with [`Observations::checks`] among the items to fit on: once a
    /// search's best architectures were measured, the predictor learns from them too.
    #[must_use]
    pub fn learning_from_checks(mut self) -> Self {
        for check in std::mem::take(&mut self.checks) {
            let same = |item: &&mut Observation| {
                item.arch == check.arch && item.workload == check.workload
            };
            match self.items.iter_mut().find(same) {
                Some(item) => {
                    let (old, new) = (item.records as f64, check.records as f64);
                    let mean = |a: f64, b: f64| (old * a + new * b) / (old + new);
                    item.value = mean(item.value, check.value);
                    item.spread = mean(item.spread, check.spread);
                    item.records += check.records;
                }
                None => self.items.push(check),
            }
        }
        self
    }
}

fn file_name(file: &MeasurementFile) -> String {
    file.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn source(file: &MeasurementFile, reference_ms: f64) -> Source {
    Source {
        file: file_name(file),
        digest: file.digest.clone(),
        target: file.header.target.clone(),
        reference_ms,
        protocol: file.header.protocol.clone(),
        device: file.header.device.clone(),
        agent: file.header.agent.clone(),
    }
}

fn check_together(
    first: &MeasurementFile,
    other: &MeasurementFile,
) -> Result<(), ObservationError> {
    let differing = [
        ("target", first.header.target.clone(), other.header.target.clone()),
        ("runtime", first.header.agent.runtime.clone(), other.header.agent.runtime.clone()),
        (
            "precision",
            first.header.protocol.precision.to_string(),
            other.header.protocol.precision.to_string(),
        ),
        (
            "number of threads",
            first.header.protocol.threads.to_string(),
            other.header.protocol.threads.to_string(),
        ),
        (
            "reference model",
            first.header.protocol.reference.id(),
            other.header.protocol.reference.id(),
        ),
    ];
    // A runtime chooses its kernel by the shape of the input.
    let kernels = (first.header.protocol.workload == other.header.protocol.workload).then(|| {
        ("matrix kernel", first.header.agent.kernel.clone(), other.header.agent.kernel.clone())
    });
    match differing.into_iter().chain(kernels).find(|(_, here, there)| here != there) {
        None => Ok(()),
        Some((what, first_value, other_value)) => Err(ObservationError::Mixed {
            first: first.path.display().to_string(),
            other: other.path.display().to_string(),
            what,
            first_value,
            other_value,
        }),
    }
}

/// Records grouped by what was measured and how, in the order first met.
fn group<'a, 'b>(measured: &'b [&'a Measured<'a>]) -> Vec<Vec<&'b Measured<'a>>> {
    let mut places = BTreeMap::new();
    let mut groups: Vec<Vec<&Measured>> = Vec::new();
    for item in measured {
        let key = (item.arch, item.workload.batch, item.workload.sequence);
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(item);
    }
    groups
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

fn average(measured: &[&Measured]) -> Vec<Observation> {
    group(measured)
        .iter()
        .filter_map(|records| {
            Some(Observation {
                arch: records[0].arch.clone(),
                workload: records[0].workload,
                value: mean(records.iter().map(|item| item.value))?,
                first: records[0].value,
                spread: mean(records.iter().map(|item| item.spread))?,
                records: records.len(),
            })
        })
        .collect()
}

fn noise_floor(measured: &[&Measured]) -> NoiseFloor {
    let relative = |a: f64, b: f64| 2.0 * (a - b).abs() / (a + b);
    let retests: Vec<f64> = group(measured)
        .iter()
        .filter(|records| records.len() > 1)
        .map(|records| relative(records[0].value, records[1].value))
        .collect();
    let halves: Vec<f64> = measured
        .iter()
        .filter_map(|item| {
            let half = |parity| -> Option<f64> {
                let pairs = item.record.samples_us.iter().zip(&item.record.reference_us);
                let ratios: Vec<f64> =
                    pairs.skip(parity).step_by(2).map(|(subject, other)| subject / other).collect();
                (ratios.len() >= 3).then(|| median(&ratios))?
            };
            Some(relative(half(0)?, half(1)?))
        })
        .collect();
    NoiseFloor {
        // The difference of two equally noisy values is sqrt(2) times as large as the
        // noise of one; halves are sqrt(2) times as noisy as the whole on top.
        retest: mean(retests.iter().map(|difference| difference / std::f64::consts::SQRT_2)),
        pairs: retests.len(),
        split_half: mean(halves.iter().map(|difference| difference / 2.0)),
    }
}
