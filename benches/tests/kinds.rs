//! The kinds of predictor that the product does not have, on measurements of a real machine.

use std::path::Path;

use atb_benches::models::{Candidate, MlpSettings};
use atb_measurements::MeasurementFile;
use atb_predictor::{Machines, Metrics, Model, Observation, Observations, Rows};
use atb_space::{Architecture, Workload};

const KINDS: [Candidate; 3] =
    [Candidate::Table, Candidate::Trees, Candidate::Perceptron(MlpSettings::SMALL)];

fn measured() -> Vec<Observation> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("predictors/kd/uniform.jsonl");
    let file = MeasurementFile::read(&path).expect("reads");
    Observations::from_file(&file).expect("usable").items
}

fn fitted(kind: Candidate, observations: &[Observation]) -> Box<dyn Model> {
    kind.fit(observations, &Machines::default()).expect("fits")
}

#[test]
fn every_kind_learns_from_what_was_measured() {
    let measured = measured();
    let (known, others) = measured.split_at(120);
    let actual: Vec<f64> = others.iter().map(|item| item.value).collect();
    // A constant guess is off by more than half.
    for (kind, limit) in KINDS.into_iter().zip([0.06, 0.12, 0.15]) {
        let model = fitted(kind, known);
        let predicted: Vec<f64> =
            others.iter().map(|item| model.value(&item.arch, item.workload)).collect();
        let metrics = Metrics::of(&predicted, &actual).expect("predictions");
        assert!(metrics.mape < limit && metrics.tau > 0.9, "{kind}: {metrics:?}");
    }
}

#[test]
fn scans_of_every_kind_agree_with_single_predictions() {
    let measured = measured();
    let rows = Rows {
        workload: measured[0].workload,
        hidden: 256,
        layers: &[1, 6],
        attention: &[(12, 192), (12, 384)],
        intermediates: &[128, 700, 2048],
    };
    for kind in KINDS {
        let model = fitted(kind, &measured[..30]);
        let mut seen = 0;
        model.scan(&rows, &mut |layers, attention, values| {
            for (intermediate, value) in rows.intermediates.iter().zip(values) {
                let (heads, qkv) = rows.attention[attention];
                let id = format!("{}-256-{intermediate}-{heads}-{qkv}", rows.layers[layers]);
                let alone = model.value(&id.parse().expect("parses"), rows.workload);
                // A batched product may add in another order.
                assert!((alone / value - 1.0).abs() < 1e-5, "{kind} {id}: {alone}, {value}");
                seen += 1;
            }
        });
        assert_eq!(seen, 12);
    }
}

#[test]
fn trees_never_shrink_with_a_size() {
    let measured = measured();
    let model = fitted(Candidate::Trees, &measured[..60]);
    let value = |id: String| -> f64 {
        let arch: Architecture = id.parse().expect("parses");
        model.value(&arch, measured[0].workload)
    };
    for step in 0..20 {
        let at = |step: usize| {
            let size = 128 + 32 * step;
            [value(format!("4-{size}-1024-12-384")), value(format!("4-384-{}-12-384", 4 * size))]
        };
        let (smaller, larger) = (at(step), at(step + 1));
        assert!(smaller[0] <= larger[0] && smaller[1] <= larger[1], "{smaller:?} {larger:?}");
    }
}

#[test]
fn kinds_that_know_one_workload_refuse_several() {
    let mut measured = measured();
    measured.truncate(24);
    for item in &mut measured[12..] {
        item.workload = Workload { sequence: 64, ..item.workload };
    }
    for kind in KINDS {
        let error = kind.fit(&measured, &Machines::default()).err().expect("refused").to_string();
        assert!(
            error.contains(
                "knows one batch size and sequence length, the measurements have several \
                 (batch 1, sequence length 128; batch 1, sequence length 64)"
            ),
            "{kind}: {error}"
        );
    }
}
