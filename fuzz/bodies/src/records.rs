//! Files of what was measured, fitted and found.

use atb_export::Bundle;
use atb_files::read_json;
use atb_measurements::{MeasurementFile, MeasurementWriter, Record, Role, Subject, Verdict};
use atb_pipeline::RunReport;
use atb_predictor::{CONFIDENCE_LEVEL, Observations, Predictor};
use atb_search::{EvaluationError, Fitness, Outcome, Store, pareto_front};
use atb_space::{Architecture, Sampler};

use crate::scratch::{put, told, with_folder};

/// Sizes of no architecture that a file of records here would have.
const ANOTHER: &str = "7-28-56-7-28";

/// A measurement file. One that was read is appended to, and holds one record more then.
pub fn measurements(data: &[u8]) {
    with_folder(|folder| {
        let path = put(folder, "m.jsonl", data);
        let Some(file) = told(MeasurementFile::read(&path)) else { return };
        for record in &file.records {
            told(file.statistics(record));
            told(file.latency_ms(record));
        }
        let _ = file.overhead();
        told(Verdict::of(&file));
        told(Observations::from_file(&file));
        let Some((mut writer, _)) = told(MeasurementWriter::open(&path, &file.header)) else {
            return;
        };
        let Ok(another) = ANOTHER.parse() else { return };
        let record = Record {
            samples_us: vec![2000.5; 3],
            reference_us: vec![1000.0; 3],
            ..Record::new(Subject::architecture(another), Role::Check)
        };
        let copies = !file.header.device.simulated && file.records.contains(&record);
        told(writer.append(&record));
        let again = told(MeasurementFile::read(&path)).map(|file| file.records.len());
        assert_eq!(again, Some(file.records.len() + usize::from(!copies)));
    });
}

/// A predictor. One that was read answers for its space, and is the same when it was written.
pub fn predictor(data: &[u8]) {
    with_folder(|folder| {
        let path = put(folder, "predictor.json", data);
        let Some(predictor) = told(Predictor::load(&path)) else { return };
        let archs = Sampler::new(&predictor.space, 1).take(2);
        for arch in archs.chain([Architecture::bert_base()]) {
            let _ = predictor.predict(&arch);
            told(predictor.predict_for(&arch, predictor.workload(), CONFIDENCE_LEVEL));
            let _ = predictor.breakdown(&arch);
            let _ = predictor.baseline(&arch);
        }
        for source in &predictor.sources {
            let _ = predictor.context_differences(&source.device, &source.agent);
        }
        let _ = predictor.machines();
        let written = folder.join("written.json");
        told(predictor.save(&written));
        assert!(told(Predictor::load(&written)).is_some(), "what was written is read");
    });
}

/// A loss whose store begins as those among the kept inputs.
struct Loss;

impl Fitness for Loss {
    fn name(&self) -> &str {
        "loss"
    }
    fn digest(&self) -> String {
        "0".to_owned()
    }
    fn evaluate(&self, _: &Architecture) -> Result<f64, EvaluationError> {
        Ok(0.0)
    }
}

/// A search's file of evaluations, which is gone on with, and its outcome.
pub fn search(data: &[u8]) {
    with_folder(|folder| {
        let path = put(folder, "search.json", data);
        if let Some(outcome) = told(read_json::<Outcome>(&path, atb_search::SCHEMA)) {
            let _ = outcome.winner();
            let _ = pareto_front(&outcome.ranking);
        }
        let Some(mut store) = told(Store::open(&path, &Loss)) else { return };
        let Ok(another) = ANOTHER.parse() else { return };
        told(store.insert(&another, 1.0));
        let known = store.len();
        drop(store);
        let again = told(Store::open(&path, &Loss)).map(|store| store.len());
        assert_eq!(again, Some(known));
    });
}

/// The reports of a run and of a bundle.
pub fn reports(data: &[u8]) {
    with_folder(|folder| {
        let path = put(folder, "report.json", data);
        if let Some(report) = told(read_json::<RunReport>(&path, atb_pipeline::REPORT_SCHEMA)) {
            assert!(serde_json::to_string(&report).is_ok(), "it is written again");
        }
        if let Some(bundle) = told(Bundle::open(folder)) {
            let _ = bundle.model_file();
            assert!(serde_json::to_string(bundle.report()).is_ok(), "it is written again");
        }
    });
}
