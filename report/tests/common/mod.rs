//! The figures that tests are made with.

use std::path::{Path, PathBuf};

use atb_report::{AtLength, Curve, Figures, TaskScore, Training, Variant};

/// The report in the documentation, whose figures are those of a real run.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/example-report")
}

/// Its figures.
pub(crate) fn figures() -> Figures {
    let text = std::fs::read_to_string(example().join("figures.json")).expect("the kept figures");
    serde_json::from_str(&text).expect("figures")
}

/// What may lie beside a run, made up.
pub(crate) fn lay_beside(figures: &mut Figures) {
    let at = |tokens, latency_ms: f64| AtLength {
        tokens,
        latency_ms,
        samples_ms: vec![latency_ms * 0.98, latency_ms * 1.03],
    };
    figures.lengths = vec![at(16, 6.0), at(64, 20.5)];
    let steps = (0..50).map(|step| (step, 1.0 + 2.0 / (1.0 + step as f64))).collect();
    let points = vec![(0, 3.0), (25, 1.5), (50, 1.4)];
    let curve = |name: &str| Curve {
        name: name.to_owned(),
        higher_is_better: false,
        points: points.clone(),
    };
    figures.trainings = vec![Training {
        name: "atb-train".to_owned(),
        steps,
        held_out: vec![curve("4-192-480-12-192"), curve("6-384-1536-12-384")],
    }];
    figures.scores = vec![TaskScore {
        task: "SST-2".to_owned(),
        split: "dev".to_owned(),
        model: "bundle".to_owned(),
        metric: "accuracy".to_owned(),
        value: Some(0.871),
        interval: Some((0.851, 0.892)),
    }];
    let variant = |name: &str, bytes, latency_ms| Variant {
        name: name.to_owned(),
        bytes,
        latency_ms,
        difference: 0.01,
        score: Some(0.87),
        worth_having: name == "int8",
    };
    figures.variants = vec![variant("f32", 65_000_000, 42.0), variant("int8", 17_000_000, 41.0)];
}
