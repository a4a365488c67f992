//! The measurement protocol on simulated devices whose truth is known: how far off the
//! estimates are, and what the records say of what went wrong.

use atb_agent::{Device, Machine, Model, Session, SimulatedMachine, warm_up};
use atb_measurements::{
    DriftRule, Flag, Protocol, Record, Role, SimulatedDrift, SimulatedMigration,
    SimulatedThrottling, Simulation, Statistics, Subject, WarmUp,
};
use atb_space::Architecture;

/// Architectures from much smaller than the reference model to much larger.
const ARCHS: [&str; 6] = [
    "1-128-512-2-128",
    "2-200-400-4-128",
    "3-320-608-4-256",
    "4-256-480-12-192",
    "5-564-1054-8-512",
    "12-768-3072-12-768",
];

fn arch(id: &str) -> Architecture {
    id.parse().expect(id)
}

/// A session on a device of these settings.
fn session(simulation: &Simulation, protocol: &Protocol) -> (SimulatedMachine, Session) {
    let mut machine = SimulatedMachine::new(simulation.clone()).expect("has cores");
    machine.prepare(protocol, None).expect("has these cores");
    let reference = Subject::architecture(protocol.reference.clone());
    let reference = machine.load(&reference, protocol).expect("loads").model;
    let session = Session::begin(protocol.clone(), reference, &machine).expect("runs");
    (machine, session)
}

/// Measures [`ARCHS`] one after the other.
fn measured(simulation: &Simulation, protocol: &Protocol) -> Vec<Record> {
    let (mut machine, mut session) = session(simulation, protocol);
    ARCHS
        .iter()
        .map(|id| {
            let subject = Subject::architecture(arch(id));
            let mut model = machine.load(&subject, protocol).expect("loads").model;
            session.measure(subject, Role::Sample, &mut *model, &machine).expect("runs")
        })
        .collect()
}

/// The largest relative error of the records' ratios.
fn largest_error(simulation: &Simulation, protocol: &Protocol, records: &[Record]) -> f64 {
    let truth_us =
        |arch: &Architecture| simulation.latency_us(arch, protocol.workload, protocol.threads);
    let errors = records.iter().map(|record| {
        let truth =
            truth_us(record.arch().expect("an architecture")) / truth_us(&protocol.reference);
        (Statistics::of(record).expect("valid").ratio / truth - 1.0).abs()
    });
    errors.fold(0.0, f64::max)
}

fn flags(records: &[Record]) -> Vec<Flag> {
    let mut flags: Vec<Flag> = records.iter().flat_map(|record| record.flags.clone()).collect();
    flags.sort();
    flags.dedup();
    flags
}

#[test]
fn a_steady_device_is_measured_to_one_percent_without_flags() {
    for seed in 0..5 {
        let simulation = Simulation { seed, ..Simulation::default() };
        let records = measured(&simulation, &Protocol::default());
        let error = largest_error(&simulation, &Protocol::default(), &records);
        assert!(error < 0.01, "seed {seed}: {error}");
        assert_eq!(flags(&records), []);
        for record in &records {
            assert_eq!(record.cold_samples_us.len(), record.samples_us.len());
            assert_eq!(record.telemetry.migrations, Some(0));
            assert!(record.given_up.is_empty());
        }
    }
}

#[test]
fn the_same_settings_give_the_same_numbers() {
    let simulation = Simulation { noise: 0.05, ..Simulation::default() };
    let once = measured(&simulation, &Protocol::default());
    assert_eq!(once, measured(&simulation, &Protocol::default()));
    let other = Simulation { seed: 1, ..simulation };
    assert_ne!(once, measured(&other, &Protocol::default()));
}

#[test]
fn several_threads_are_timed_by_the_wall_clock() {
    let protocol = Protocol { threads: 2, ..Protocol::default() };
    let simulation = Simulation::default();
    let records = measured(&simulation, &protocol);
    assert!(records.iter().all(|record| record.samples_cpu_us.is_empty()));
    assert!(largest_error(&simulation, &protocol, &records) < 0.01);
}

#[test]
fn other_programs_do_not_count_and_are_told_of() {
    let simulation = Simulation { other_load: 0.5, ..Simulation::default() };
    let records = measured(&simulation, &Protocol::default());
    assert!(largest_error(&simulation, &Protocol::default(), &records) < 0.01);
    assert_eq!(flags(&records), [Flag::Preempted]);
    assert!(records.iter().all(|r| r.telemetry.involuntary_switches > Some(0)));
}

#[test]
fn a_clock_that_swings_does_not_look_like_an_effect_of_size() {
    for (amplitude, period_s) in [(0.04, 7.0), (0.3, 60.0)] {
        let drift = Some(SimulatedDrift { amplitude, period_s });
        let simulation = Simulation { drift, ..Simulation::default() };
        let records = measured(&simulation, &Protocol::default());
        let error = largest_error(&simulation, &Protocol::default(), &records);
        assert!(error < 0.015, "amplitude {amplitude}: {error}");
    }
}

fn hot(full_load_c: f64, time_constant_s: f64) -> Simulation {
    let rule = SimulatedThrottling {
        room_c: 25.0,
        full_load_c,
        time_constant_s,
        limit_c: 70.0,
        speed: 0.6,
    };
    Simulation { throttling: Some(rule), ..Simulation::default() }
}

#[test]
fn a_throttled_device_cools_down_and_is_measured_again() {
    // It gets hot within the run and recovers in a few seconds of rest.
    let simulation = hot(100.0, 2.0);
    let records = measured(&simulation, &Protocol::default());
    assert!(largest_error(&simulation, &Protocol::default(), &records) < 0.015);
    let again: Vec<&Record> = records.iter().filter(|r| !r.given_up.is_empty()).collect();
    assert!(!again.is_empty());
    for record in again {
        assert!(record.given_up.len() <= 2);
        assert!(record.telemetry.cool_down_ms >= 2000.0);
        assert!(record.inference_ms() > 0.0 && !record.given_up[0].samples_us.is_empty());
    }
}

#[test]
fn a_device_that_stays_hot_is_flagged_and_the_run_goes_on() {
    // Minutes to cool: two more attempts do not help.
    let simulation = hot(200.0, 60.0);
    let (mut machine, mut session) = session(&simulation, &Protocol::default());
    let id = "8-768-3072-12-768";
    let mut records = Vec::new();
    for _ in 0..20 {
        let subject = Subject::architecture(arch(id));
        let mut model = machine.load(&subject, session.protocol()).expect("loads").model;
        records.push(session.measure(subject, Role::Sample, &mut *model, &machine).expect("runs"));
    }
    let throttled: Vec<&Record> =
        records.iter().filter(|r| r.flags.contains(&Flag::Throttled)).collect();
    assert!(throttled.iter().any(|record| record.given_up.len() == 2));
    assert!(throttled.iter().all(|record| record.given_up.len() <= 2));
    let telemetry = &throttled.last().expect("throttled").telemetry;
    assert_eq!(telemetry.after.throttled_by, ["simulated heat"]);
    assert!(telemetry.after.hottest.as_ref().is_some_and(|zone| zone.temperature_c > 65.0));
    // Cooling down does not take up the whole session.
    let cooled_ms: f64 = records.iter().map(|record| record.telemetry.cool_down_ms).sum();
    assert!(cooled_ms <= 1e3 * DriftRule::default().session_seconds, "{cooled_ms}");
    // The ratio holds even so.
    assert!(largest_error(&simulation, &Protocol::default(), &records) < 0.015);
}

#[test]
fn a_move_to_little_cores_is_told_of_and_pinning_prevents_it() {
    let migration = Some(SimulatedMigration { every_s: 1.0, for_s: 0.2 });
    let simulation = Simulation { migration, ..Simulation::default() };
    let records = measured(&simulation, &Protocol::default());
    assert!(flags(&records).contains(&Flag::Migrated));
    assert!(records.iter().any(|record| record.telemetry.runs_on_cores.len() == 2));
    assert!(largest_error(&simulation, &Protocol::default(), &records) < 0.02);
    let pinned = Protocol { cores: vec![0], ..Protocol::default() };
    let records = measured(&simulation, &pinned);
    assert_eq!(flags(&records), []);
    assert!(largest_error(&simulation, &pinned, &records) < 0.01);
}

#[test]
fn little_cores_can_be_measured_on_purpose() {
    let simulation = Simulation::default();
    let little = Protocol { cores: vec![2, 3], ..Protocol::default() };
    let slow = measured(&simulation, &little);
    let fast = measured(&simulation, &Protocol::default());
    let median_us = |record: &Record| Statistics::of(record).expect("valid").median_us;
    assert!(slow.iter().zip(&fast).all(|(slow, fast)| median_us(slow) > 1.5 * median_us(fast)));
    let mut machine = SimulatedMachine::new(simulation).expect("has cores");
    let nowhere = Protocol { cores: vec![8], ..Protocol::default() };
    let error = machine.prepare(&nowhere, None).expect_err("refused");
    assert!(error.message.starts_with("core 8 is not available"), "{error:?}");
}

#[test]
fn measuring_ends_at_its_limits_and_says_so() {
    let simulation = Simulation { noise: 0.3, ..Simulation::default() };
    let few = Protocol { max_pairs: 20, ..Protocol::default() };
    let records = measured(&simulation, &few);
    assert!(records.iter().all(|record| record.samples_us.len() <= 20));
    assert!(flags(&records).contains(&Flag::Noisy));
    let short = Protocol { max_seconds: 0.0, ..Protocol::default() };
    let records = measured(&simulation, &short);
    assert!(records.iter().all(|record| record.samples_us.len() == short.min_pairs));
}

#[test]
fn a_device_that_gets_faster_moves_the_baseline() {
    // The swing begins at the slow side.
    let drift = Some(SimulatedDrift { amplitude: -0.3, period_s: 10.0 });
    let simulation = Simulation { drift, ..Simulation::default() };
    let records = measured(&simulation, &Protocol::default());
    let baselines: Vec<f64> =
        records.iter().filter_map(|record| record.telemetry.baseline_us).collect();
    assert_eq!(baselines.len(), records.len());
    assert!(baselines.windows(2).all(|pair| pair[1] <= pair[0]), "{baselines:?}");
    assert!(baselines.last() < baselines.first(), "{baselines:?}");
}

/// A model that starts slowly and gets faster.
struct Warming<'a> {
    machine: &'a SimulatedMachine,
    runs: u32,
    slow_runs: u32,
}

impl Model for Warming<'_> {
    fn run(&mut self) -> Result<(), String> {
        let cold = f64::from(self.slow_runs.saturating_sub(self.runs)) * 0.2;
        self.machine.wait(0.005 * (1.0 + cold));
        self.runs += 1;
        Ok(())
    }
}

#[test]
fn the_warm_up_lasts_until_the_run_times_settle() {
    let machine = SimulatedMachine::new(Simulation::default()).expect("has cores");
    let warm = |slow_runs, rule: &WarmUp| {
        let mut model = Warming { machine: &machine, runs: 0, slow_runs };
        warm_up(&mut model, rule, &machine).expect("runs")
    };
    let rule = WarmUp::default();
    let quick = warm(0, &rule);
    assert!(quick.settled);
    assert_eq!(quick.runs_us.len(), rule.min_runs);
    let slow = warm(10, &rule);
    assert!(slow.settled && slow.runs_us.len() > 10, "{slow:?}");
    let cut = warm(12, &WarmUp { max_runs: 5, ..rule });
    assert!(!cut.settled);
    assert_eq!(cut.runs_us.len(), 5);
}
