//! Measuring in rounds, and what a predictor is worth on measurements of their own.

use atb_measurements::{MeasurementFile, Role};
use atb_predictor::{
    FitSettings, Observations, Predictor, RefineError, RefineSettings, Round, refine,
};
use atb_space::{Architecture, Space, Workload};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::common::{measure, record, write};

/// The made-up device measures these, always the same for the same architectures.
fn measured(archs: &[Architecture], noise: f64) -> Observations {
    let folder = tempfile::tempdir().expect("a folder");
    let workload = Workload::default();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let records: Vec<_> =
        archs.iter().map(|arch| record(arch, Role::Sample, workload, noise, &mut rng)).collect();
    let path = write(folder.path(), "rounds.jsonl", workload, &records);
    Observations::from_file(&MeasurementFile::read(&path).expect("reads")).expect("usable")
}

fn rounds(settings: &RefineSettings, noise: f64) -> (Vec<Vec<Architecture>>, bool, Vec<Round>) {
    let mut asked = Vec::new();
    let mut heard = Vec::new();
    let refined = refine(
        &Space::paper_kd(),
        Workload::default(),
        settings,
        |archs| {
            asked.push(archs.to_vec());
            Ok::<_, std::io::Error>(measured(archs, noise))
        },
        |round| heard.push(*round),
    )
    .expect("refines");
    assert_eq!(refined.rounds, heard);
    (asked, refined.reached, heard)
}

#[test]
fn rounds_go_on_until_the_error_is_small_enough() {
    let settings = RefineSettings {
        initial_samples: 12,
        samples_per_round: 5,
        target_mape: 0.02,
        ..Default::default()
    };
    let (asked, reached, heard) = rounds(&settings, 0.004);
    assert!(reached, "{heard:?}");
    assert!(asked.len() > 1, "the first round alone proves nothing");
    let last = heard.last().expect("a round");
    assert!(last.cross_validated.mape <= 0.02);
    assert!(last.fresh.expect("predicted before").mape <= 0.02);
    assert_eq!(heard[0].fresh, None);
    // Every round adds to the one before and measures nothing twice.
    for pair in asked.windows(2) {
        assert_eq!(pair[1][..pair[0].len()], pair[0][..]);
        assert!(pair[1][pair[0].len()..].iter().all(|arch| !pair[0].contains(arch)));
    }
    assert_eq!(rounds(&settings, 0.004).0, asked, "the same again");
}

#[test]
fn rounds_end_when_enough_is_measured_and_when_measuring_fails() {
    let settings = RefineSettings {
        initial_samples: 12,
        samples_per_round: 5,
        max_samples: 20,
        target_mape: 1e-6,
        ..Default::default()
    };
    let (asked, reached, heard) = rounds(&settings, 0.01);
    assert!(!reached);
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [12, 17, 20]);
    assert_eq!(heard.last().expect("a round").measured, 20);

    let failed = refine(
        &Space::paper_kd(),
        Workload::default(),
        &settings,
        |_| Err(std::io::Error::other("the cable is out")),
        |_| {},
    );
    let error = failed.expect_err("nothing was measured");
    assert!(matches!(error, RefineError::Measure(_)));
    assert_eq!(error.to_string(), "the cable is out");
}

#[test]
fn a_predictor_is_evaluated_on_what_it_has_not_seen() {
    let space = Space::paper_kd();
    let fit_on = Observations::from_file(&measure(&space, 40, 1, 0.01)).expect("usable");
    let predictor = Predictor::fit(&fit_on, &space, &FitSettings::default()).expect("fits");
    let mut others = Observations::from_file(&measure(&space, 150, 99, 0.01)).expect("usable");
    let evaluation = predictor.evaluate(&others).expect("of its space");
    assert_eq!(evaluation.metrics.count, 150);
    assert!(evaluation.metrics.mape < 0.03, "{:?}", evaluation.metrics);
    let inside = others.items.iter().filter(|item| {
        let prediction = predictor.predict(&item.arch);
        (prediction.low..=prediction.high).contains(&item.first)
    });
    assert_eq!(evaluation.coverage, inside.count() as f64 / 150.0);
    let worst: Vec<f64> = evaluation.worst.iter().map(|worst| worst.error().abs()).collect();
    assert!(worst.len() == 10 && worst.is_sorted_by(|a, b| a >= b), "{worst:?}");

    // A reference twice as slow changes the scale, not what is compared.
    for source in &mut others.sources {
        source.reference_ms *= 2.0;
    }
    for item in &mut others.items {
        item.value *= 2.0;
        item.first *= 2.0;
    }
    let rescaled = predictor.evaluate(&others).expect("of its space");
    assert!((rescaled.metrics.mape - evaluation.metrics.mape).abs() < 1e-12);

    others.items.clear();
    let error = predictor.evaluate(&others).expect_err("nothing").to_string();
    assert!(error.starts_with("the measurements hold no architecture of the predictor's space"));
}
