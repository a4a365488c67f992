//! Fitting on a made-up device whose costs are known: accuracy, intervals, refusals, files.

use std::fs;

use crate::common::{device_us, measure, record, told, write};
use atb_measurements::{AgentContext, DeviceContext, MeasurementFile, Role};
use atb_predictor::{FitSettings, Metrics, Model, Observations, Predictor, Rows};
use atb_space::{Architecture, Sampler, Space, Workload};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn fitted(space: &Space, count: usize, seed: u64, noise: f64) -> Predictor {
    let measured = Observations::from_file(&measure(space, count, seed, noise)).expect("usable");
    Predictor::fit(&measured, space, &FitSettings::default()).expect("fits")
}

fn refusal(records: &[(&str, Role)]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let workload = Workload::default();
    let records: Vec<_> = records
        .iter()
        .map(|(id, role)| record(&id.parse().expect(id), *role, workload, 0.0, &mut rng))
        .collect();
    let file = MeasurementFile::read(&write(folder.path(), "m.jsonl", workload, &records));
    let measured = Observations::from_file(&file.expect("reads")).expect("usable");
    told(
        &Predictor::fit(&measured, &Space::paper_kd(), &FitSettings::default())
            .expect_err("cannot be fitted"),
    )
}

#[test]
fn thirty_measurements_predict_the_rest_of_both_spaces() {
    for space in [Space::paper_kd(), Space::paper_mlm()] {
        let predictor = fitted(&space, 30, 4, 0.007);
        let others: Vec<Architecture> = Sampler::new(&space, 99).take(300).collect();
        let predicted: Vec<f64> = others.iter().map(|arch| predictor.value(arch)).collect();
        let actual: Vec<f64> =
            others.iter().map(|arch| device_us(arch, Workload::default()) / 1000.0).collect();
        let metrics = Metrics::of(&predicted, &actual).expect("predictions");
        assert!(metrics.mape < 0.02, "{}: {metrics:?}", space.name);
        assert!(metrics.within_10 > 0.99 && metrics.tau > 0.98, "{}: {metrics:?}", space.name);
        // What cross-validation promised is what came.
        let promised = predictor.validation.metrics;
        assert!(promised.mape < 0.03 && promised.mape > 0.5 * metrics.mape, "{promised:?}");
        assert_eq!(predictor.validation.folds, 30);
    }
}

#[test]
fn one_measurement_gone_wrong_does_not_spoil_the_fit() {
    let mut file = measure(&Space::paper_kd(), 40, 8, 0.005);
    for sample in &mut file.records[10].samples_us {
        *sample *= 1.6;
    }
    let spoiled = file.records[10].arch().expect("an architecture").clone();
    let measured = Observations::from_file(&file).expect("usable");
    let predictor =
        Predictor::fit(&measured, &Space::paper_kd(), &FitSettings::default()).expect("fits");
    assert_eq!(predictor.validation.worst[0].arch, spoiled);
    assert!(predictor.validation.worst[0].error() < -0.3);
    let error = |arch: &Architecture| {
        let actual = device_us(arch, Workload::default()) / 1000.0;
        (predictor.value(arch) / actual - 1.0).abs()
    };
    let others: Vec<Architecture> = Sampler::new(&Space::paper_kd(), 77).take(100).collect();
    let mean = others.iter().map(error).sum::<f64>() / 100.0;
    assert!(mean < 0.02, "mean error {mean}");
}

#[test]
fn intervals_hold_what_their_level_says() {
    let space = Space::paper_kd();
    let (mut inside, mut total) = (0, 0);
    for seed in 0..30 {
        let mut file = measure(&space, 40, seed, 0.01);
        let mut rng = ChaCha8Rng::seed_from_u64(1000 + seed);
        file.records.extend(
            Sampler::new(&space, 500 + seed)
                .take(100)
                .map(|arch| record(&arch, Role::Check, Workload::default(), 0.01, &mut rng)),
        );
        let measured = Observations::from_file(&file).expect("usable");
        let predictor = Predictor::fit(&measured, &space, &FitSettings::default()).expect("fits");
        for item in &measured.checks {
            let prediction = predictor.predict(&item.arch);
            assert!(prediction.low < prediction.value);
            inside += usize::from((prediction.low..=prediction.high).contains(&item.value));
            total += 1;
        }
    }
    let coverage = inside as f64 / total as f64;
    assert!((0.88..=0.92).contains(&coverage), "{inside} of {total}");
}

#[test]
fn noise_is_known_from_retests_and_halves() {
    let measured =
        Observations::from_file(&measure(&Space::paper_kd(), 200, 2, 0.01)).expect("usable");
    assert_eq!(measured.noise.pairs, 40);
    // A normal error of 1 % has a mean absolute value of 0.8 %; the halves do not see it.
    let retest = measured.noise.retest.expect("retests");
    assert!((0.006..0.010).contains(&retest), "{retest}");
    assert!(measured.noise.split_half.expect("halves") < 0.5 * retest);
    assert_eq!(measured.items.len(), 200);
    assert_eq!(measured.items[0].records, 2);
}

#[test]
fn roles_are_kept_apart() {
    let predictor = fitted(&Space::paper_kd(), 20, 3, 0.0);
    assert_eq!(predictor.validation.metrics.count, 20);
    let base = Architecture::bert_base();
    let baseline = predictor.baseline(&base).expect("was measured");
    let actual = device_us(&base, Workload::default()) / 1000.0;
    assert!((baseline / actual - 1.0).abs() < 1e-9, "{baseline} and {actual}");
    assert_eq!(predictor.baseline(&"2-128-512-2-128".parse().expect("parses")), None);
}

#[test]
fn checked_architectures_can_be_learnt_from() {
    let mut file = measure(&Space::paper_kd(), 20, 3, 0.0);
    let known = file.records[0].arch().expect("an architecture").clone();
    let new: Architecture = "5-564-1024-12-528".parse().expect("parses");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for arch in [&known, &new] {
        file.records.push(record(arch, Role::Check, Workload::default(), 0.0, &mut rng));
    }
    let measured = Observations::from_file(&file).expect("usable");
    assert_eq!((measured.items.len(), measured.checks.len()), (20, 2));
    let (before, check) = (measured.items[0].clone(), measured.checks[0].clone());
    let learning = measured.learning_from_checks();
    assert_eq!((learning.items.len(), learning.checks.len()), (21, 0));
    assert_eq!(learning.items[0].records, before.records + 1);
    let expected = (2.0 * before.value + check.value) / 3.0;
    assert!((learning.items[0].value - expected).abs() < 1e-9);
    assert_eq!(learning.items[20].arch, new);
}

#[test]
fn another_context_is_named() {
    let predictor = fitted(&Space::paper_kd(), 12, 1, 0.0);
    let source = predictor.sources[0].clone();
    assert!(predictor.context_differences(&source.device, &source.agent).is_empty());
    let device = DeviceContext { governor: Some("powersave".to_owned()), ..source.device };
    let agent = AgentContext { version: "2".to_owned(), ..source.agent };
    assert_eq!(
        predictor.context_differences(&device, &agent),
        [
            "the predictor was fitted with the frequency governor unknown, here it is powersave",
            "the predictor was fitted with the agent version 1, here it is 2"
        ]
    );
}

#[test]
fn parts_add_up_and_scans_agree_to_the_last_bit() {
    let predictor = fitted(&Space::paper_kd(), 30, 6, 0.01);
    for id in ["5-564-1024-12-528", "3-320-[608,700,512]-12-[264,252,240]"] {
        let arch = id.parse().expect(id);
        let parts = predictor.breakdown(&arch).expect("the structured model knows its parts");
        let sum = parts.embedding + parts.attention + parts.feed_forward + parts.normalisation;
        let whole = predictor.value(&arch);
        assert!((sum / whole - 1.0).abs() < 1e-12, "{id}: {sum} and {whole}");
    }
    let rows = Rows {
        workload: predictor.workload(),
        hidden: 564,
        layers: &[2, 5],
        attention: &[(12, 180), (12, 528)],
        intermediates: &[128, 1024, 3072],
    };
    let mut seen = 0;
    predictor.model.scan(&rows, &mut |layers, attention, latencies| {
        for (intermediate, latency) in rows.intermediates.iter().zip(latencies) {
            let (heads, qkv) = rows.attention[attention];
            let id = format!("{}-564-{intermediate}-{heads}-{qkv}", rows.layers[layers]);
            assert_eq!(predictor.value(&id.parse().expect("parses")), *latency, "{id}");
            seen += 1;
        }
    });
    assert_eq!(seen, 12);
}

#[test]
fn several_sequence_lengths_and_batches_in_one_predictor() {
    let space = Space::paper_kd();
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let workloads = [(1, 64), (1, 256), (2, 128)];
    let mut measure = |(batch, sequence): (usize, usize), count: usize, seed: u64| {
        let workload = Workload { batch, sequence };
        let records: Vec<_> = Sampler::new(&space, seed + sequence as u64)
            .take(count)
            .map(|arch| record(&arch, Role::Sample, workload, 0.005, &mut rng))
            .collect();
        let name = format!("{batch}-{sequence}-{seed}.jsonl");
        let path = write(folder.path(), &name, workload, &records);
        MeasurementFile::read(&path).expect("reads")
    };
    let files = workloads.map(|workload| measure(workload, 30, 0));
    let measured = Observations::from_files(&files).expect("go together");
    let predictor = Predictor::fit(&measured, &space, &FitSettings::default()).expect("fits");
    assert!(predictor.validation.metrics.mape < 0.03, "{:?}", predictor.validation.metrics);
    for workload in workloads {
        let others = Observations::from_file(&measure(workload, 40, 1000)).expect("usable");
        let evaluation = predictor.evaluate(&others).expect("was fitted for it");
        assert!(evaluation.metrics.mape < 0.03, "{workload:?}: {:?}", evaluation.metrics);
    }
    // Between the two it predicts, beyond them it says that it cannot.
    let arch: Architecture = "5-564-1024-12-528".parse().expect("parses");
    let between = Workload { batch: 1, sequence: 128 };
    let prediction = predictor.predict_for(&arch, between, 0.9).expect("lies between");
    let actual = device_us(&arch, between) / 1000.0;
    assert!((prediction.value / actual - 1.0).abs() < 0.06, "{prediction:?} for {actual}");
    let beyond = Workload { batch: 1, sequence: 512 };
    let error = predictor.predict_for(&arch, beyond, 0.9).expect_err("lies beyond");
    assert_eq!(
        told(&error),
        "this predictor was fitted for batch 1, sequence length 64; batch 1, sequence length 256; \
         batch 2, sequence length 128 and says nothing about batch 1, sequence length 512; \
         hint: measure that with `atb profile` and fit again"
    );
}

#[test]
fn useless_measurements_are_refused_with_a_reason() {
    assert_eq!(
        refusal(&[("2-128-512-12-240", Role::Sample), ("4-312-512-4-256", Role::Sample)]),
        "a predictor needs at least 10 measured architectures of the space `kd`, found 1 \
         and 1 outside it, the first because 4-312-512-4-256 is not in the space `kd`: the \
         number of attention heads is 4, the space has 12; hint: measure more with `atb profile`"
    );
    let same_hidden: Vec<String> =
        (0..12).map(|i| format!("{}-256-{}-12-{}", 1 + i % 8, 512 + 4 * i, 180 + 12 * i)).collect();
    let same_hidden: Vec<(&str, Role)> =
        same_hidden.iter().map(|id| (id.as_str(), Role::Sample)).collect();
    assert_eq!(
        refusal(&same_hidden),
        "all 12 measured architectures have the hidden size 256, but the space `kd` has others; \
         hint: measure architectures that differ in it"
    );
}

#[test]
fn files_that_do_not_go_together_are_refused() {
    let first = measure(&Space::paper_kd(), 10, 1, 0.0);
    let mut other = first.clone();
    other.path = "other.jsonl".into();
    other.header.target = "phone".to_owned();
    let error = told(&Observations::from_files(&[first, other]).expect_err("two devices"));
    assert!(
        error.ends_with(
            "other.jsonl do not go together: they were measured with another target (made-up and \
             phone); hint: fit one predictor for each"
        ),
        "{error}"
    );
}

#[test]
fn the_file_reads_back_and_refuses_what_it_is_not() {
    let predictor = fitted(&Space::paper_mlm(), 20, 5, 0.01);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.json");
    predictor.save(&path).expect("saves");
    assert_eq!(Predictor::load(&path).expect("loads"), predictor);
    assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1, "no temporary file is left");

    let text = fs::read_to_string(&path).expect("reads");
    let refused = |text: String| {
        fs::write(&path, text).expect("writes");
        told(&Predictor::load(&path).expect_err("refused"))
    };
    let error = refused(text.replace("\"schema\": 2,", "\"schema\": 3,"));
    assert!(
        error.ends_with(
            "has schema 3, this version of atb reads up to 2; hint: use a newer version of atb"
        ),
        "{error}"
    );
    let error = refused(text.replace("\"products\"", "\"produkts\""));
    assert!(
        error.contains("unknown feature `produkts") && error.contains("expected one of call, "),
        "{error}"
    );
    let error = refused(text[..text.len() / 2].to_owned());
    assert!(error.contains("is not a predictor: EOF while parsing"), "{error}");
}
