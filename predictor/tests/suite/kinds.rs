//! The kinds of model that a predictor file can hold.

use atb_measurements::{MeasurementFile, Role};
use atb_predictor::{FitSettings, Kind, Machines, Metrics, Model, Observations, Predictor, Rows};
use atb_space::{Architecture, Sampler, Space, Workload};
use miette::Diagnostic;

use crate::common::{device_us, measure};

fn observed(count: usize, seed: u64) -> Observations {
    Observations::from_file(&measure(&Space::paper_kd(), count, seed, 0.005)).expect("usable")
}

fn error_on_others(model: &dyn Model) -> Metrics {
    let others: Vec<Architecture> = Sampler::new(&Space::paper_kd(), 99).take(200).collect();
    let workload = Workload::default();
    let predicted: Vec<f64> = others.iter().map(|arch| model.value(arch, workload)).collect();
    let actual: Vec<f64> = others.iter().map(|arch| device_us(arch, workload) / 1000.0).collect();
    Metrics::of(&predicted, &actual).expect("predictions")
}

#[test]
fn every_kind_learns_and_reads_back_from_its_file() {
    let measured = observed(120, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.json");
    for &kind in Kind::ALL {
        let model = kind.fit(&measured.items, &Machines::default()).expect("fits");
        let error = error_on_others(&model).mape;
        assert!(error < 0.015, "{kind}: {error}");

        let mut predictor =
            Predictor::fit(&observed(12, 2), &Space::paper_kd(), &FitSettings::default())
                .expect("fits");
        predictor.model = model;
        predictor.save(&path).expect("saves");
        let again = Predictor::load(&path).expect("loads");
        assert_eq!(again, predictor, "{kind}");
        let arch: Architecture = "5-564-1024-12-528".parse().expect("parses");
        assert_eq!(again.value(&arch), predictor.value(&arch), "{kind}");
        assert_eq!(predictor.model.kind(), kind);
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
    for &kind in Kind::ALL {
        let model = kind.fit(&measured.items, &Machines::default()).expect("fits");
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
fn kinds_have_names() {
    for &kind in Kind::ALL {
        assert_eq!(kind.name().parse::<Kind>().expect("a kind"), kind);
    }
    let told = |name: &str| {
        let error = name.parse::<Kind>().expect_err("no kind");
        format!("{error}; {}", error.help().expect("a remedy"))
    };
    assert_eq!(told("forest"), "there is no model `forest`; the models are `structured`");
    assert_eq!(
        told("mlp-paper"),
        "the model `mlp-paper` is no longer fitted: it never predicted better than `structured`; \
         leave --model away; the benchmark `compare-predictors` compares the others with it"
    );
    assert!(Kind::Structured.fit(&[], &Machines::default()).is_err());
}

#[test]
fn a_file_of_a_kind_that_is_no_longer_fitted_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.json");
    let predictor = Predictor::fit(&observed(12, 2), &Space::paper_kd(), &FitSettings::default())
        .expect("fits");
    predictor.save(&path).expect("saves");
    let text = std::fs::read_to_string(&path).expect("reads");
    assert!(text.contains("\"kind\": \"structured\""), "{text}");
    std::fs::write(&path, text.replace("\"kind\": \"structured\"", "\"kind\": \"trees\""))
        .expect("writes");
    let error = Predictor::load(&path).expect_err("refused");
    let help = error.help().expect("a remedy").to_string();
    assert!(error.to_string().contains("p.json") && help.contains("atb fit"), "{error}; {help}");
}

#[test]
fn records_of_one_role_are_read_as_such() {
    let file: MeasurementFile = measure(&Space::paper_kd(), 10, 6, 0.005);
    let retests = file.records.iter().filter(|record| record.role == Role::Retest).count();
    let measured = Observations::from_file(&file).expect("usable");
    assert_eq!((measured.items.len(), retests), (10, 2));
}
