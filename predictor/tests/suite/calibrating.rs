//! Carrying a predictor over to another made-up device.

use atb_measurements::{MeasurementFile, Role};
use atb_predictor::{FitSettings, Metrics, Observations, Predictor, design};
use atb_space::{Architecture, Sampler, Space, Workload};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::common::{device_us, measure, record, told, write};

/// Another device: half as fast in everything, and slower still for every layer.
fn other_us(arch: &Architecture, workload: Workload) -> f64 {
    2.0 * device_us(arch, workload) + 300.0 * arch.num_layers() as f64
}

fn measured_on_the_other(archs: &[Architecture], workload: Workload) -> Observations {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let records: Vec<_> = archs
        .iter()
        .map(|arch| {
            let mut record = record(arch, Role::Sample, workload, 0.005, &mut rng);
            let factor = other_us(arch, workload) / device_us(arch, workload);
            for sample in &mut record.samples_us {
                *sample *= factor;
            }
            record
        })
        .collect();
    let path = write(folder.path(), "other.jsonl", workload, &records);
    Observations::from_file(&MeasurementFile::read(&path).expect("reads")).expect("usable")
}

fn original() -> Predictor {
    let measured =
        Observations::from_file(&measure(&Space::paper_kd(), 40, 1, 0.005)).expect("usable");
    Predictor::fit(&measured, &Space::paper_kd(), &FitSettings::default()).expect("fits")
}

#[test]
fn ten_measurements_carry_a_predictor_to_another_device_and_sequence_length() {
    let space = Space::paper_kd();
    let original = original();
    for workload in [Workload::default(), Workload { batch: 1, sequence: 256 }] {
        let ten = design::choose(&space, workload, 10, 1, &[]);
        let calibrated =
            original.calibrate(&measured_on_the_other(&ten, workload), 0).expect("calibrates");
        let others: Vec<Architecture> = Sampler::new(&space, 9).take(200).collect();
        let predicted: Vec<f64> = others.iter().map(|arch| calibrated.value(arch)).collect();
        let actual: Vec<f64> =
            others.iter().map(|arch| other_us(arch, workload) / 1000.0).collect();
        let metrics = Metrics::of(&predicted, &actual).expect("predictions");
        assert!(metrics.mape < 0.03 && metrics.within_10 > 0.98, "{workload:?}: {metrics:?}");
        assert_eq!(calibrated.workload(), workload);
        assert_eq!(calibrated.calibrated_from, original.sources);
        assert_eq!(calibrated.validation.folds, 10);
        assert!(calibrated.predict(&others[0]).high.is_finite());

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.json");
        calibrated.save(&path).expect("saves");
        assert_eq!(Predictor::load(&path).expect("loads"), calibrated);
    }
}

#[test]
fn calibration_refuses_too_little() {
    let workload = Workload::default();
    let three = design::choose(&Space::paper_kd(), workload, 3, 1, &[]);
    let measured = measured_on_the_other(&three, workload);
    assert_eq!(
        told(&original().calibrate(&measured, 0).expect_err("too few")),
        "calibration needs at least 5 measured architectures, found 3; hint: measure ten with `atb profile`"
    );
}

#[test]
fn active_rounds_choose_where_the_search_looks() {
    let predictor = original();
    let measured: Vec<Architecture> = Sampler::new(&predictor.space, 1).take(40).collect();
    let (low, high) = (15.0, 20.0);
    let chosen = design::choose_next(&predictor, 8, 2, &measured, Some((low, high)));
    assert_eq!(chosen.len(), 8);
    for arch in &chosen {
        let latency_ms = predictor.value(arch);
        assert!((low..=high).contains(&latency_ms), "{arch}: {latency_ms}");
        assert!(!measured.contains(arch));
    }
    // Without a focus it goes where the predictor is least sure.
    let uncertainty = |archs: &[Architecture]| {
        let one = |arch: &Architecture| {
            let prediction = predictor.predict(arch);
            (prediction.high - prediction.low) / prediction.value
        };
        archs.iter().map(one).sum::<f64>() / archs.len() as f64
    };
    let anywhere = design::choose_next(&predictor, 8, 2, &measured, None);
    let random: Vec<Architecture> = Sampler::new(&predictor.space, 77).take(50).collect();
    assert!(uncertainty(&anywhere) > 1.05 * uncertainty(&random));
}
