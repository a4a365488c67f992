//! Searches on a made-up device and loss: candidates, strategies, refusals, interruption.

use std::sync::atomic::Ordering;

use atb_ranks::Ranks;

use crate::common::{MadeUpLoss, predictor, space, told};
use atb_search::{
    Budget, Candidates, Evaluated, Limits, Outcome, SearchError, Settings, Store, Strategy, search,
    search_across,
};
use atb_space::{Architecture, Cost, Range, Space};

fn quiet(
    candidates: &Candidates<'_>,
    loss: &MadeUpLoss,
    store: &mut Store,
    settings: &Settings,
) -> Result<Outcome, SearchError> {
    search(candidates, loss, store, settings, &mut |_| ())
}

#[test]
fn ranks_find_what_one_finds_and_only_the_first_keeps_it() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    for (strategy, threads) in [("evolutionary", 1), ("surrogate-assisted", 3), ("nsga2", 1)] {
        let strategy = *Strategy::ALL.iter().find(|s| s.name == strategy).expect("is one");
        let settings =
            Settings { strategy, threads, population: 9, generations: 3, ..Settings::default() };
        let of_one = MadeUpLoss::default();
        let expected = quiet(&candidates, &of_one, &mut Store::in_memory(), &settings);
        let expected = expected.expect("searches");
        let (loss, candidates, expected) = (MadeUpLoss::default(), &candidates, &expected);
        std::thread::scope(|scope| {
            for ranks in Ranks::threads(3) {
                let (loss, settings) = (&loss, &settings);
                scope.spawn(move || {
                    let mut store = Store::in_memory();
                    let mut heard = 0;
                    let run = |store: &mut Store, heard: &mut usize| {
                        search_across(&ranks, candidates, loss, store, settings, &mut |_| {
                            *heard += 1
                        })
                        .expect("searches")
                    };
                    assert_eq!(run(&mut store, &mut heard), *expected);
                    let kept = if ranks.is_first() { expected.ranking.len() } else { 0 };
                    assert_eq!((store.len(), heard), (kept, kept));
                    // Once more, from what rank 0 has kept.
                    assert_eq!(run(&mut store, &mut heard).computed, 0);
                });
            }
        });
        assert_eq!(loss.asked.load(Ordering::Relaxed), of_one.asked.load(Ordering::Relaxed));
    }
}

#[test]
fn candidates_are_exactly_the_architectures_in_the_band() {
    let space = space();
    let predictor = predictor(&space);
    let budget = Budget::paper(12.0);
    let candidates = Candidates::scan(&space, &predictor, &budget).expect("some");
    let band = budget.on(&predictor).expect("a band");
    let expected: std::collections::BTreeSet<Architecture> =
        space.enumerate_uniform().filter(|arch| band.contains(predictor.value(arch))).collect();
    assert_eq!(candidates.scanned(), space.count_uniform());
    assert_eq!(candidates.len(), expected.len() as u64);
    assert!(candidates.iter().all(|arch| expected.contains(&arch) && candidates.admits(&arch)));
    let by_index: std::collections::BTreeSet<Architecture> =
        (0..candidates.len()).filter_map(|index| candidates.get(index)).collect();
    assert_eq!(by_index, expected);
    assert_eq!(candidates.get(candidates.len()), None);

    let fast = candidates.fast().expect("some are fast");
    let follows = |arch: &&Architecture| {
        let (dm, layer) = (arch.hidden() as f64, arch.layers()[0]);
        let (df, dq) = (layer.intermediate as f64, layer.qkv as f64);
        (1.6 * dm..=1.9 * dm).contains(&df) && (0.7 * dm..=dm).contains(&dq)
    };
    assert_eq!(fast.len(), expected.iter().filter(follows).count() as u64);
    assert!(!fast.is_empty() && fast.iter().all(|arch| follows(&&arch)));
}

#[test]
fn a_seeded_search_begins_with_the_largest_of_each_depth() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    let largest = candidates.largest_by_depth();
    let depths: std::collections::BTreeSet<usize> =
        candidates.iter().map(|arch| arch.num_layers()).collect();
    for layers in depths {
        let of_depth = || candidates.iter().filter(|arch| arch.num_layers() == layers);
        let parameters = of_depth().map(|arch| Cost::encoder_parameters(&arch)).max();
        let hidden = of_depth().map(|arch| arch.hidden()).max();
        let found = || largest.iter().filter(|arch| arch.num_layers() == layers);
        assert_eq!(found().map(Cost::encoder_parameters).max(), parameters, "{layers} layers");
        assert_eq!(found().map(Architecture::hidden).max(), hidden, "{layers} layers");
        assert!(found().count() <= 2);
    }
    let parameters: Vec<u64> = largest.iter().map(Cost::encoder_parameters).collect();
    assert!(parameters.is_sorted_by(|a, b| a >= b), "{parameters:?}");

    let loss = MadeUpLoss::default();
    let mut first = Vec::new();
    let settings = Settings { generations: 1, ..Settings::default() };
    search(&candidates, &loss, &mut Store::in_memory(), &settings, &mut |progress| {
        first.push(progress.last.arch.clone());
    })
    .expect("searches");
    let seeds = largest.len().min(settings.population / 2);
    assert_eq!(first.len(), settings.population);
    assert_eq!(first[..seeds], largest[..seeds]);

    let unseeded = Settings { seeded: false, ..settings };
    let outcome = quiet(&candidates, &loss, &mut Store::in_memory(), &unseeded).expect("searches");
    let evaluated = |arch: &Architecture| outcome.ranking.iter().any(|found| found.arch == *arch);
    assert!(!largest.iter().all(evaluated));
}

#[test]
fn limits_and_the_intervals_upper_end_narrow_the_candidates() {
    let space = space();
    let predictor = predictor(&space);
    let all = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    let narrowed = |limits, confidence_level| {
        let budget = Budget { limits, confidence_level, ..Budget::paper(12.0) };
        let candidates = Candidates::scan(&space, &predictor, &budget).expect("some");
        let band = budget.on(&predictor).expect("a band");
        let expected = all.iter().filter(|arch| band.admits(&predictor, arch)).count() as u64;
        assert_eq!(candidates.len(), expected);
        assert!(expected > 0 && expected < all.len(), "{expected} of {}", all.len());
        candidates.iter().collect::<Vec<Architecture>>()
    };
    let parameters = |arch: &Architecture| Cost::parameters(arch, 30_522, 512);
    let limit = Limits { parameters: Some(25_000_000), ..Limits::default() };
    assert!(narrowed(limit, None).iter().all(|arch| parameters(arch) <= 25_000_000));
    let limit =
        Limits { file_bytes: Some(40_000_000), bytes_per_parameter: 2, ..Limits::default() };
    assert!(narrowed(limit, None).iter().all(|arch| parameters(arch) <= 20_000_000));
    let limit = Limits { memory_bytes: Some(100_000_000), ..Limits::default() };
    assert!(narrowed(limit, None).iter().all(|arch| parameters(arch) < 25_000_000));
    assert!(
        narrowed(Limits::default(), Some(0.9))
            .iter()
            .all(|arch| predictor.predict(arch).high <= 12.0 * 1.1)
    );

    let limits = Limits { parameters: Some(1_000), ..Limits::default() };
    let error = Candidates::scan(&space, &predictor, &Budget { limits, ..Budget::paper(12.0) })
        .expect_err("nothing is that small")
        .to_string();
    assert!(
        error.starts_with(&format!("of {} architectures of the space `kd`", all.len()))
            && error.contains("with 10.200 to 13.200 ms none keeps the limits on parameters"),
        "{error}"
    );
}

#[test]
fn the_largest_candidates_and_the_histogram_agree_with_a_plain_count() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    let size = |arch: &Architecture| Cost::encoder_parameters(arch) as f64;
    let mut sizes: Vec<f64> = candidates.iter().map(|arch| size(&arch)).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let largest = candidates.best_by(5, size);
    assert_eq!(largest.iter().map(|(score, _)| *score).collect::<Vec<_>>(), sizes[..5]);
    let latencies: Vec<f64> =
        space.enumerate_uniform().map(|arch| predictor.value(&arch)).collect();
    for (low_ms, high_ms, count) in candidates.histogram().bins() {
        let inside = |latency: &&f64| (low_ms..high_ms).contains(*latency);
        assert_eq!(latencies.iter().filter(inside).count() as u64, count);
    }
}

#[test]
fn budgets_that_nothing_meets_name_the_nearest_architecture() {
    let space = space();
    let predictor = predictor(&space);
    let refused = |target_ms| {
        told(
            &Candidates::scan(&space, &predictor, &Budget::paper(target_ms))
                .expect_err("nothing there"),
        )
    };
    let error = refused(0.01);
    assert!(
        error.starts_with(
            "no architecture of the space `kd` meets the budget of 0.009 to 0.011 ms; the nearest \
             is 1-128-128-12-180 with "
        ) && error.ends_with("hint: raise the budget, or let the space hold smaller architectures"),
        "{error}"
    );
    let error = refused(1e6);
    assert!(error.contains("the nearest is 8-768-3072-12-756 with "), "{error}");
    assert!(error.contains("hint: lower the budget"), "{error}");
    assert_eq!(
        refused(f64::NAN),
        "search settings: `latency_ms` is NaN, expected above 0 to 1000000000"
    );
}

#[test]
fn speed_ups_are_against_what_was_measured() {
    let predictor = predictor(&space());
    let base = Architecture::bert_base();
    let target_ms = |baseline: &Architecture, speedup| {
        let budget = Budget { baseline: baseline.clone(), speedup, ..Budget::default() };
        budget.on(&predictor).map(|band| band.target_ms)
    };
    let measured_ms = predictor.baseline(&base).expect("measured");
    assert_eq!(target_ms(&base, Some(10.0)).expect("measured"), measured_ms / 10.0);
    assert_eq!(target_ms(&base, None).expect("measured"), measured_ms / 16.0);
    assert_eq!(
        told(&target_ms(&base, Some(0.0)).expect_err("no speed-up")),
        "search settings: `speedup` is 0, expected above 0 to 1000000000"
    );
    let other = "6-768-3072-12-768".parse().expect("parses");
    assert_eq!(
        told(&target_ms(&other, Some(10.0)).expect_err("not measured")),
        "6-768-3072-12-768 was not measured as a baseline on this device (measured: \
         12-768-3072-12-768); hint: profile with it as the baseline, or give the budget in \
         milliseconds"
    );
}

#[test]
fn every_strategy_stays_in_the_band_and_repeats_itself_exactly() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    for &strategy in Strategy::ALL {
        let run = |seed, threads| {
            let settings = Settings { seed, threads, ..Settings::of(strategy) };
            let loss = MadeUpLoss::default();
            let outcome =
                quiet(&candidates, &loss, &mut Store::in_memory(), &settings).expect("runs");
            assert_eq!(loss.asked.load(Ordering::SeqCst), outcome.computed);
            outcome
        };
        let outcome = run(3, 1);
        let planned = outcome.candidates.min(100) as usize;
        assert_eq!(outcome.ranking.len(), planned, "{strategy:?}");
        let distinct: std::collections::BTreeSet<&Architecture> =
            outcome.ranking.iter().map(|item| &item.arch).collect();
        assert_eq!(distinct.len(), planned, "nothing is evaluated twice");
        assert!(outcome.ranking.iter().all(|item| candidates.admits(&item.arch)));
        assert!(outcome.ranking.is_sorted_by(|a, b| a.fitness <= b.fitness));
        let front: Vec<&Evaluated> = outcome.front.iter().collect();
        assert_eq!(front.last().map(|item| item.fitness), outcome.winner().map(|w| w.fitness));
        assert_eq!(run(3, 2), outcome, "threads change nothing");
        // Another seed chooses others, unless all were chosen.
        assert_eq!(run(4, 1).ranking == outcome.ranking, outcome.candidates <= 100);
    }
}

#[test]
fn an_interrupted_search_goes_on_where_it_stopped() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    let settings = Settings::default();
    let whole = quiet(&candidates, &MadeUpLoss::default(), &mut Store::in_memory(), &settings)
        .expect("runs");

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fitness.jsonl");
    let failing = MadeUpLoss { fails_from: Some(37), ..MadeUpLoss::default() };
    let mut store = Store::open(&path, &failing).expect("begins");
    let error = quiet(&candidates, &failing, &mut store, &settings).expect_err("is interrupted");
    assert!(error.to_string().ends_with("could not be evaluated: the machine was switched off"));
    drop(store);

    let loss = MadeUpLoss::default();
    let mut store = Store::open(&path, &loss).expect("opens");
    assert_eq!(store.len(), 37);
    let continued = quiet(&candidates, &loss, &mut store, &settings).expect("goes on");
    assert_eq!(loss.asked.load(Ordering::SeqCst), 100 - 37);
    assert_eq!(continued.ranking, whole.ranking);
    assert_eq!(continued.computed, 63);
}

#[test]
fn a_search_ends_when_every_candidate_is_evaluated() {
    let space = Space {
        layers: Range::new(2, 4, 1),
        hidden: Range::new(128, 256, 64),
        intermediate: Range::new(256, 512, 128),
        ..space()
    };
    let predictor = predictor(&crate::common::space());
    let budget = Budget { low: 0.95, high: 1.05, ..Budget::paper(3.0) };
    let candidates = Candidates::scan(&space, &predictor, &budget).expect("some");
    assert!((5..60).contains(&candidates.len()), "{}", candidates.len());
    let best = candidates.iter().map(|arch| MadeUpLoss::of(&arch)).fold(f64::MAX, f64::min);
    // The fast search leaves most of the candidates out.
    for &strategy in Strategy::ALL.iter().filter(|strategy| **strategy != Strategy::FAST) {
        let settings = Settings::of(strategy);
        let mut heard = Vec::new();
        let outcome = search(
            &candidates,
            &MadeUpLoss::default(),
            &mut Store::in_memory(),
            &settings,
            &mut |progress| heard.push((progress.done, progress.planned)),
        )
        .expect("runs");
        assert_eq!(outcome.ranking.len() as u64, candidates.len(), "{strategy:?}");
        assert_eq!(outcome.winner().map(|winner| winner.fitness), Some(best));
        let planned = candidates.len() as usize;
        assert_eq!(heard, (1..=planned).map(|done| (done, planned)).collect::<Vec<_>>());
    }
}

#[test]
fn layers_may_differ_where_the_space_lets_them() {
    let space = Space { per_layer: true, ..space() };
    let predictor = predictor(&space);
    let candidates = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    let outcome =
        quiet(&candidates, &MadeUpLoss::default(), &mut Store::in_memory(), &Settings::default())
            .expect("runs");
    let differing =
        outcome.ranking.iter().filter(|item| item.arch.uniform_layer().is_none()).count();
    assert!(differing > 10, "{differing} of 100 have layers that differ");
    assert!(outcome.ranking.iter().all(|item| candidates.admits(&item.arch)));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = Candidates::scan(&space, &predictor, &Budget::paper(12.0)).expect("some");
    let refused = |settings| {
        quiet(&candidates, &MadeUpLoss::default(), &mut Store::in_memory(), &settings)
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        refused(Settings { population: 0, ..Settings::default() }),
        "search settings: `population` is 0, expected 1 to 100000"
    );
    assert_eq!(
        refused(Settings { fresh: 1.5, ..Settings::default() }),
        "search settings: `fresh` is 1.5, expected 0 to 1"
    );
}
