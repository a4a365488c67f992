//! The figures of a run, read from its files.

use std::path::Path;

use atb_export::{Bundle, Parity};
use atb_measurements::{
    DeviceContext, MeasurementFile, Record, Role, Subject, Summary, Verdict, percentile,
};
use atb_pipeline::{Files, REPORT_SCHEMA, RunReport, steps};
use atb_predictor::{Breakdown, Predictor};
use atb_search::{Outcome, evaluations};

use crate::figures::{
    AtLength, Evaluated, FIGURES_SCHEMA, Figures, Finalist, Moment, Part, Predicted, Runs, Sized,
    Trust, Winner,
};
use crate::{ReportError, beside};

impl Figures {
    /// The figures of the run in `folder`.
    ///
    /// # Errors
    /// [`ReportError`] if it holds no finished run, or a file of it cannot be read.
    pub fn of_run(folder: &Path) -> Result<Self, ReportError> {
        let files = Files::of(folder);
        let needed = [
            (&files.report, "report.json"),
            (&files.measurements, "measurements.jsonl"),
            (&files.predictor, "predictor.json"),
            (&files.search, "search.json"),
            (&files.evaluations, "evaluations.jsonl"),
            (&files.check, "check.jsonl"),
        ];
        if let Some((_, missing)) = needed.into_iter().find(|(path, _)| !path.is_file()) {
            return Err(ReportError::NoRun { folder: folder.to_owned(), missing });
        }
        let report: RunReport = atb_files::read_json(&files.report, REPORT_SCHEMA)?;
        let outcome: Outcome = atb_files::read_json(&files.search, atb_search::SCHEMA)?;
        let predictor = Predictor::load(&files.predictor)?;
        let bundle = Bundle::open(&files.bundle)?;
        let measured = MeasurementFile::read(&files.measurements)?;
        let check = MeasurementFile::read(&files.check)?;
        let mut measuring = vec![&measured];
        let finalists = match files.finalists.is_file() {
            true => Some(MeasurementFile::read(&files.finalists)?),
            false => None,
        };
        measuring.extend(&finalists);
        measuring.push(&check);

        let evaluated = evaluations(&files.evaluations)?
            .into_iter()
            .filter_map(|(arch, loss)| {
                // The store outlives a search, and may know of others.
                let known = outcome.ranking.iter().find(|known| known.arch == arch)?;
                Some(Evaluated {
                    architecture: arch.id(),
                    predicted_ms: known.latency_ms,
                    loss,
                    on_front: outcome.front.iter().any(|other| other.arch == arch),
                })
            })
            .collect();
        let breakdown = predictor.breakdown(&report.winner).map_or_else(Vec::new, parts);
        Ok(Self {
            schema: FIGURES_SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            target: report.target.clone(),
            device: device(&measured),
            batch: report.workload.batch,
            sequence: report.workload.sequence,
            winner: winner(&report, &bundle),
            trust: trust(&Verdict::of(&measured)?),
            warnings: report.warnings.clone(),
            scanned: outcome.scanned,
            candidates: outcome.candidates,
            evaluated,
            finalists: report.finalists.iter().map(finalist).collect(),
            static_table_loss: report.static_table.map(|table| table.loss),
            predictions: predictor
                .validation
                .predictions
                .iter()
                .map(|it| Predicted {
                    architecture: it.arch.id(),
                    predicted_ms: it.predicted,
                    measured_ms: it.measured,
                })
                .collect(),
            mape: report.predictor.mape,
            within_10: report.predictor.within_10,
            tau: report.predictor.tau,
            noise_floor: report.predictor.noise_floor,
            parts: breakdown,
            runs: runs(&check),
            lengths: lengths(&report, &files)?,
            trainings: beside::training_in(&folder.join("training"))?,
            scores: beside::scores(&folder.join("evaluation.json"))?,
            variants: beside::variants(&folder.join("variants.json"))?,
            moments: moments(&measuring),
            parity: report.parity.largest(),
            parity_engines: engines(&report.parity),
            bundle: sizes(&files.bundle)?,
        })
    }
}

fn winner(report: &RunReport, bundle: &Bundle) -> Winner {
    Winner {
        architecture: report.winner.id(),
        loss: report.loss,
        budget_ms: report.budget_ms,
        band_ms: report.band_ms,
        predicted_ms: report.predicted_ms,
        interval_ms: report.interval_ms,
        measured_ms: report.measured_ms,
        in_band: report.in_band,
        baseline: report.baseline.id(),
        baseline_ms: report.baseline_ms,
        speedup: report.speedup,
        parameters: bundle.report().parameters,
        precision: bundle.report().precision.to_string(),
        weights: report.superplm.description.clone(),
    }
}

fn finalist(finalist: &atb_pipeline::steps::Finalist) -> Finalist {
    Finalist {
        architecture: finalist.arch.id(),
        loss: finalist.loss,
        above_lowest: finalist.above_lowest.value,
        told_apart: finalist.above_lowest.value != 0.0 && finalist.above_lowest.is_told(),
        predicted_ms: finalist.predicted_ms,
        interval_ms: finalist.interval_ms,
        measured_ms: finalist.measured_ms,
    }
}

fn trust(verdict: &Verdict) -> Trust {
    Trust {
        trustworthy: verdict.trustworthy(),
        objections: verdict.objections.clone(),
        notes: verdict.notes.clone(),
        repeated: verdict.repeats.map_or(0, |repeats| repeats.count),
        difference: verdict.repeats.map(|repeats| repeats.difference),
    }
}

fn engines(parity: &Parity) -> String {
    match parity.tract_ort {
        Some(_) => "candle, tract and ONNX Runtime".to_owned(),
        None => "candle and tract".to_owned(),
    }
}

fn parts(breakdown: Breakdown) -> Vec<Part> {
    [
        ("call, embeddings and pooler", breakdown.embedding),
        ("attention", breakdown.attention),
        ("feed-forward", breakdown.feed_forward),
        ("normalisation and what a layer costs", breakdown.normalisation),
    ]
    .into_iter()
    .map(|(name, ms)| Part { name: name.to_owned(), ms })
    .collect()
}

/// What the device of a file is, as far as it is known.
fn device(file: &MeasurementFile) -> Vec<(String, String)> {
    let DeviceContext { cpu, board, isa, os, os_name, kernel, cores, memory_mib, governor, .. } =
        &file.header.device;
    let agent = &file.header.agent;
    let protocol = &file.header.protocol;
    [
        ("processor", cpu.clone()),
        ("board", board.clone()),
        ("instruction set", Some(isa.clone())),
        ("system", os_name.clone().or_else(|| Some(os.clone()))),
        ("kernel", kernel.clone()),
        ("cores", cores.map(|cores| cores.to_string())),
        ("memory", memory_mib.map(|mib| format!("{mib} MiB"))),
        ("frequency governor", governor.clone()),
        ("engine", Some(agent.runtime.clone())),
        ("matrix kernel", Some(agent.kernel.clone())),
        ("threads", Some(protocol.threads.to_string())),
        ("reference model", Some(protocol.reference.id())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|text| !text.is_empty())?)))
    .collect()
}

/// The runs of every model of `file`, the exported one first.
fn runs(file: &MeasurementFile) -> Vec<Runs> {
    let mut subjects: Vec<&Subject> = Vec::new();
    for record in &file.records {
        if !subjects.contains(&&record.subject) {
            subjects.push(&record.subject);
        }
    }
    let of = |subject: &Subject| {
        let records: Vec<&Record> =
            file.records.iter().filter(|record| record.subject == *subject).collect();
        let samples = records.iter().flat_map(|record| &record.samples_us);
        let Summary { percentiles_ms, load_ms, first_ms, memory_kib } = Summary::of(&records)?;
        let model = match (subject, records.first()?.role) {
            (Subject::Model(_), Role::Check) => "winner".to_owned(),
            (subject, _) => subject.to_string(),
        };
        Some(Runs {
            model,
            samples_ms: samples.map(|us| us / 1e3).collect(),
            percentiles_ms: percentiles_ms.into(),
            load_ms,
            first_ms,
            memory_kib,
        })
    };
    let mut all: Vec<Runs> = subjects.into_iter().filter_map(of).collect();
    all.sort_by_key(|runs| runs.model != "winner");
    all
}

/// The winner at several lengths, that of the whole input from the check.
fn lengths(report: &RunReport, files: &Files) -> Result<Vec<AtLength>, ReportError> {
    let all = steps::at_lengths(&report.winner, &files.lengths)?;
    let shorter = all.into_iter().map(|it| AtLength {
        tokens: it.tokens,
        latency_ms: it.latency_ms,
        samples_ms: it.samples_ms,
    });
    Ok(shorter.collect())
}

/// The device over all records of `files`, one after the other.
fn moments(files: &[&MeasurementFile]) -> Vec<Moment> {
    let mut elapsed_ms = 0.0;
    let mut all = Vec::new();
    for record in files.iter().flat_map(|file| &file.records) {
        elapsed_ms += record.elapsed_ms;
        let percentile = |percent| percentile(&record.reference_us, percent).map(|us| us / 1e3);
        let (Some(low), Some(middle), Some(high)) =
            (percentile(10.0), percentile(50.0), percentile(90.0))
        else {
            continue;
        };
        let after = &record.telemetry.after;
        let frequencies = after.frequencies.iter().map(|core| core.mhz);
        all.push(Moment {
            subject: match &record.subject {
                Subject::Model(_) => "the exported model".to_owned(),
                subject => subject.to_string(),
            },
            minutes: elapsed_ms / 60e3,
            reference_ms: (low, middle, high),
            frequency_mhz: frequencies.reduce(f64::max),
            temperature_c: after.hottest.as_ref().map(|zone| zone.temperature_c),
            throttled_by: after.throttled_by.clone(),
            flags: record.flags.iter().map(|flag| flag.name().to_owned()).collect(),
        });
    }
    all
}

/// The files of a bundle that an app reads, the largest first.
fn sizes(bundle: &Path) -> Result<Vec<Sized>, ReportError> {
    let path = bundle.join(atb_bundle::MANIFEST_FILE);
    let manifest: atb_bundle::Manifest = atb_files::read_json(&path, atb_bundle::MANIFEST_SCHEMA)?;
    let mut all: Vec<Sized> = manifest
        .parts
        .into_iter()
        .map(|part| Sized { name: part.name, bytes: part.bytes })
        .collect();
    all.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    Ok(all)
}
