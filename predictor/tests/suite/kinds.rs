//! The kinds of model beside each other.

use atb_measurements::{MeasurementFile, Role};
use atb_predictor::{
    FitSettings, Kind, Metrics, MlpSettings, Model, Observation, Observations, Predictor, Rows,
    fit_one,
};
use atb_space::{Architecture, Sampler, Space, Workload};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::common::{device_us, measure, record, write};

fn observed(count: usize, seed: u64) -> Observations {
    Observations::from_file(&measure(&Space::paper_kd(), count, seed, 0.005)).expect("usable")
}

fn error_on_others(model: &Model) -> Metrics {
    let others: Vec<Architecture> = Sampler::new(&Space::paper_kd(), 99).take(200).collect();
    let workload = Workload::default();
    let predicted: Vec<f64> =
        others.iter().map(|arch| model.as_model().latency_ms(arch, workload)).collect();
    let actual: Vec<f64> = others.iter().map(|arch| device_us(arch, workload) / 1000.0).collect();
    Metrics::of(&predicted, &actual).expect("predictions")
}

#[test]
fn every_kind_learns_and_reads_back_from_its_file() {
    let measured = observed(120, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.json");
    let small = MlpSettings::SMALL;
    let kinds = [
        (Kind::Structured, 0.015),
        (Kind::Table, 0.05),
        (Kind::Trees, 0.15),
        (Kind::Mlp(small), 0.15),
    ];
    for (kind, limit) in kinds {
        let machines = atb_predictor::Machines::default();
        let model = fit_one(kind, &measured.items, &machines).expect("fits");
        let error = error_on_others(&model).mape;
        assert!(error < limit, "{kind}: {error}");

        let mut predictor =
            Predictor::fit(&observed(12, 2), &Space::paper_kd(), &FitSettings::default())
                .expect("fits");
        predictor.model = model;
        predictor.save(&path).expect("saves");
        let again = Predictor::load(&path).expect("loads");
        assert_eq!(again, predictor, "{kind}");
        let arch: Architecture = "5-564-1024-12-528".parse().expect("parses");
        assert_eq!(again.latency_ms(&arch), predictor.latency_ms(&arch), "{kind}");
        assert_eq!(predictor.model.kind(), kind.to_string());
    }
}

#[test]
fn scans_of_every_kind_agree_with_single_predictions() {
    let measured = observed(30, 3);
    let rows = Rows {
        workload: Workload::default(),
        hidden: 256,
        layers: &[1, 6],
        attention: &[(12, 192), (12, 384)],
        intermediates: &[128, 700, 2048],
    };
    for kind in [Kind::Table, Kind::Trees, Kind::Mlp(MlpSettings::SMALL)] {
        let model = fit_one(kind, &measured.items, &Default::default()).expect("fits");
        let mut seen = 0;
        model.as_model().scan(&rows, &mut |layers, attention, latencies| {
            for (intermediate, latency) in rows.intermediates.iter().zip(latencies) {
                let (heads, qkv) = rows.attention[attention];
                let id = format!("{}-256-{intermediate}-{heads}-{qkv}", rows.layers[layers]);
                let alone =
                    model.as_model().latency_ms(&id.parse().expect("parses"), rows.workload);
                // A batched product may add in another order.
                assert!((alone / latency - 1.0).abs() < 1e-5, "{kind} {id}: {alone}, {latency}");
                seen += 1;
            }
        });
        assert_eq!(seen, 12);
    }
}

#[test]
fn trees_never_shrink_with_a_size() {
    let model = fit_one(Kind::Trees, &observed(60, 4).items, &Default::default()).expect("fits");
    let latency =
        |id: String| model.as_model().latency_ms(&id.parse().expect("parses"), Workload::default());
    for step in 0..20 {
        let at = |step: usize| {
            let size = 128 + 32 * step;
            [
                latency(format!("4-{size}-1024-12-384")),
                latency(format!("4-384-{}-12-384", 4 * size)),
            ]
        };
        let (smaller, larger) = (at(step), at(step + 1));
        assert!(smaller[0] <= larger[0] && smaller[1] <= larger[1], "{smaller:?} {larger:?}");
    }
}

#[test]
fn auto_takes_the_best_kind_and_says_why() {
    let settings = FitSettings { kind: Kind::Auto, ..FitSettings::default() };
    let predictor = Predictor::fit(&observed(30, 5), &Space::paper_kd(), &settings).expect("fits");
    assert_eq!(predictor.model.kind(), "structured");
    let choice = predictor.choice.expect("several were compared");
    let kinds: Vec<&str> = choice.compared.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds.len(), 4);
    assert!(choice.compared.is_sorted_by(|a, b| a.1.mape <= b.1.mape));
    assert_eq!(predictor.validation.folds, 30);
    let start = "the structured model has the smallest cross-validated error, ";
    assert!(choice.reason.starts_with(start), "{}", choice.reason);
}

#[test]
fn kinds_that_know_one_workload_refuse_several() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let files: Vec<MeasurementFile> = [64, 128]
        .into_iter()
        .map(|sequence| {
            let workload = Workload { batch: 1, sequence };
            let records: Vec<_> = Sampler::new(&Space::paper_kd(), 1)
                .take(12)
                .map(|arch| record(&arch, Role::Sample, workload, 0.0, &mut rng))
                .collect();
            let path = write(folder.path(), &format!("{sequence}"), workload, &records);
            MeasurementFile::read(&path).expect("reads")
        })
        .collect();
    let measured = Observations::from_files(&files).expect("go together");
    for kind in [Kind::Table, Kind::Trees, Kind::Mlp(MlpSettings::SMALL)] {
        let settings = FitSettings { kind, ..FitSettings::default() };
        assert_eq!(
            Predictor::fit(&measured, &Space::paper_kd(), &settings)
                .expect_err("refused")
                .to_string(),
            format!(
                "the {kind} model knows one batch and sequence length, the measurements have \
                 several (batch 1, sequence length 64; batch 1, sequence length 128); hint: fit \
                 it on files of one of them, or use the structured model"
            )
        );
    }
    // The structured model is the only one left to choose.
    let settings = FitSettings { kind: Kind::Auto, ..FitSettings::default() };
    let predictor = Predictor::fit(&measured, &Space::paper_kd(), &settings).expect("fits");
    assert_eq!(
        predictor.choice.map(|choice| choice.reason).as_deref(),
        Some("only the structured model can be fitted to these measurements")
    );
}

#[test]
fn kinds_have_names() {
    for name in ["structured", "table", "trees", "mlp", "mlp-paper", "auto"] {
        assert_eq!(name.parse::<Kind>().expect("a kind").to_string(), name);
    }
    assert_eq!(
        "forest".parse::<Kind>().expect_err("no kind").to_string(),
        "there is no model `forest`; hint: choose structured, table, trees, mlp, mlp-paper or auto"
    );
    let observations: &[Observation] = &[];
    assert!(fit_one(Kind::Structured, observations, &Default::default()).is_err());
}
