//! The measurement protocol: warm up until stable, then pairs until the ratio is certain,
//! and once more if the device has slowed down meanwhile.

use std::collections::BTreeMap;

use atb_measurements::{
    CoreFrequency, Flag, GivenUp, Protocol, Reading, Record, Role, RunsOnCore, Statistics, Subject,
    WarmUp, median,
};

use crate::machine::{Device, Model};

/// The run times of one warm-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Timings {
    /// Every run, in microseconds.
    pub runs_us: Vec<f64>,
    /// Whether the moving averages agreed before the runs were used up.
    pub settled: bool,
}

/// Weights of the newest run in the two moving averages of the warm-up.
const FAST: f64 = 0.5;
const SLOW: f64 = 0.2;
/// Parts that a record is cut into to see whether the device changed its speed.
const DRIFT_PARTS: usize = 3;
/// Share of the wall time without the processor that is worth a flag.
const PREEMPTION: f64 = 0.05;

/// One timed run.
struct Run {
    wall_us: f64,
    cpu_us: Option<f64>,
}

fn timed(model: &mut dyn Model, device: &dyn Device) -> Result<Run, String> {
    let (start, start_cpu) = (device.now_us(), device.cpu_us());
    model.run()?;
    let (end_cpu, end) = (device.cpu_us(), device.now_us());
    let cpu_us = end_cpu.zip(start_cpu).map(|(end, start)| end - start);
    Ok(Run { wall_us: end - start, cpu_us })
}

/// Runs `model` until a fast and a slow moving average of its run times agree.
///
/// # Errors
/// What the model says if it fails to run.
pub fn warm_up(
    model: &mut dyn Model,
    rule: &WarmUp,
    device: &dyn Device,
) -> Result<Timings, String> {
    let mut runs_us = Vec::new();
    let (mut fast, mut slow) = (0.0, 0.0);
    while runs_us.len() < rule.max_runs.max(1) {
        let run_us = timed(model, device)?.wall_us;
        // The very first run pays for page faults and is no part of the averages.
        if runs_us.len() < 2 {
            (fast, slow) = (run_us, run_us);
        } else {
            fast += FAST * (run_us - fast);
            slow += SLOW * (run_us - slow);
        }
        runs_us.push(run_us);
        if runs_us.len() >= rule.min_runs.max(2) && (fast - slow).abs() <= rule.tolerance * slow {
            return Ok(Timings { runs_us, settled: true });
        }
    }
    Ok(Timings { runs_us, settled: false })
}

/// How the pairs of one measurement came to their end.
enum Pairs {
    /// The ratio is certain.
    Certain,
    /// Pairs or time were used up before.
    UsedUp,
    /// The reference has left its baseline.
    Drifted,
}

/// Where the runs of one measurement took place.
#[derive(Default)]
struct Places {
    runs: BTreeMap<usize, u64>,
    last: Option<usize>,
    moves: u64,
}

impl Places {
    fn note(&mut self, core: Option<usize>) {
        let Some(core) = core else { return };
        *self.runs.entry(core).or_default() += 1;
        if self.last.is_some_and(|last| last != core) {
            self.moves += 1;
        }
        self.last = Some(core);
    }

    /// Whether they took place on cores of different kinds.
    fn mixed(&self, clusters: &[Vec<usize>]) -> bool {
        let kinds = clusters.iter().filter(|cores| cores.iter().any(|c| self.runs.contains_key(c)));
        kinds.count() > 1
    }
}

/// A session of measurements against one reference model.
pub struct Session {
    protocol: Protocol,
    reference: Box<dyn Model>,
    /// The reference's run time while the device was at its best.
    baseline_us: f64,
    /// The sensors at that time.
    baseline_reading: Reading,
    /// Time spent on cooling down so far, in seconds.
    cooled_s: f64,
}

impl Session {
    /// Begins a session: warms the reference model up and takes its baseline.
    ///
    /// # Errors
    /// What the model says if it fails to run.
    pub fn begin(
        protocol: Protocol,
        mut reference: Box<dyn Model>,
        device: &dyn Device,
    ) -> Result<Self, String> {
        warm_up(&mut *reference, &protocol.warm_up, device)?;
        let (mut wall_us, mut cpu_us) = (Vec::new(), Vec::new());
        for _ in 0..protocol.min_pairs.max(1) {
            let run = timed(&mut *reference, device)?;
            wall_us.push(run.wall_us);
            cpu_us.extend(run.cpu_us.filter(|_| protocol.threads == 1));
        }
        let runs_us = if cpu_us.len() == wall_us.len() { &cpu_us } else { &wall_us };
        let baseline_us = median(runs_us).unwrap_or(f64::NAN);
        let baseline_reading = device.reading();
        Ok(Self { protocol, reference, baseline_us, baseline_reading, cooled_s: 0.0 })
    }

    /// The protocol of the session.
    #[must_use]
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Measures `model` by the protocol. The record's build time and memory are the
    /// caller's to fill in.
    ///
    /// # Errors
    /// What a model says if it fails to run.
    pub fn measure(
        &mut self,
        subject: Subject,
        role: Role,
        model: &mut dyn Model,
        device: &dyn Device,
    ) -> Result<Record, String> {
        let mut record = Record::new(subject, role);
        record.telemetry.before = device.reading();
        let counters = device.counters();
        let mut places = Places::default();
        let mut settled = true;
        let end = loop {
            let warm = warm_up(model, &self.protocol.warm_up, device)?;
            settled &= warm.settled;
            record.warm_up_us.extend(warm.runs_us);
            let end = self.pairs(&mut record, model, device, &mut places)?;
            if !matches!(end, Pairs::Drifted) {
                break end;
            }
            let cool_down_s = self.protocol.drift.cool_down_seconds;
            give_up(&mut record);
            device.wait(cool_down_s);
            self.cooled_s += cool_down_s;
            record.telemetry.cool_down_ms += cool_down_s * 1e3;
        };
        record.telemetry.after = device.reading();
        let since = device.counters();
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        record.telemetry.voluntary_switches =
            difference(since.voluntary_switches, counters.voluntary_switches);
        record.telemetry.involuntary_switches =
            difference(since.involuntary_switches, counters.involuntary_switches);
        record.telemetry.steal_ms =
            since.steal_ms.zip(counters.steal_ms).map(|(now, then)| now - then);
        record.telemetry.migrations = places.last.map(|_| places.moves);
        record.telemetry.runs_on_cores =
            places.runs.iter().map(|(&core, &runs)| RunsOnCore { core, runs }).collect();
        record.telemetry.baseline_us = Some(self.baseline_us);

        let slowdown = self.slowdown(&record);
        let drifted = slowdown > self.protocol.drift.tolerance
            || drift(&record) > self.protocol.drift.tolerance;
        let throttled = self.throttled(&record.telemetry.before, slowdown)
            || self.throttled(&record.telemetry.after, slowdown);
        let flags = [
            (!settled, Flag::ColdStart),
            (matches!(end, Pairs::UsedUp), Flag::Noisy),
            (preemption(&record) > PREEMPTION, Flag::Preempted),
            (throttled, Flag::Throttled),
            (drifted && !throttled, Flag::Drift),
            (places.mixed(device.clusters()), Flag::Migrated),
        ];
        record.flags.extend(flags.into_iter().filter_map(|(holds, flag)| holds.then_some(flag)));
        // A device that got faster was not at its best when the baseline was taken.
        if slowdown < -self.protocol.drift.tolerance {
            self.baseline_us *= 1.0 + slowdown;
            self.baseline_reading = record.telemetry.after.clone();
        }
        Ok(record)
    }

    /// Adds pairs to the record until its ratio is certain, the protocol's limits are
    /// reached, or the reference has left its baseline and may be measured again.
    fn pairs(
        &mut self,
        record: &mut Record,
        model: &mut dyn Model,
        device: &dyn Device,
        places: &mut Places,
    ) -> Result<Pairs, String> {
        let begin = device.now_us();
        loop {
            for _ in 0..self.protocol.settle_runs {
                record.cold_samples_us.push(timed(model, device)?.wall_us);
            }
            let sample = timed(model, device)?;
            places.note(device.core());
            for _ in 0..self.protocol.settle_runs {
                record.cold_reference_us.push(timed(&mut *self.reference, device)?.wall_us);
            }
            let reference = timed(&mut *self.reference, device)?;
            places.note(device.core());
            record.samples_us.push(sample.wall_us);
            record.reference_us.push(reference.wall_us);
            // The thread's own time is the whole of it only where there is no other thread.
            if self.protocol.threads == 1
                && let (Some(sample), Some(reference)) = (sample.cpu_us, reference.cpu_us)
            {
                record.samples_cpu_us.push(sample);
                record.reference_cpu_us.push(reference);
            }

            let pairs = record.samples_us.len();
            if pairs < self.protocol.min_pairs.max(1) {
                continue;
            }
            if self.may_cool_down(record) && self.slowdown(record) > self.protocol.drift.tolerance {
                return Ok(Pairs::Drifted);
            }
            let statistics = Statistics::of(record).map_err(|error| error.to_string())?;
            if statistics.ratio_half_width <= self.protocol.ratio_half_width {
                return Ok(Pairs::Certain);
            }
            let spent_s = (device.now_us() - begin) / 1e6;
            if pairs >= self.protocol.max_pairs || spent_s >= self.protocol.max_seconds {
                // Ending on time with an interval up to twice as wide is usual on a busy
                // device; wider than that, the number itself is in doubt.
                let certain = statistics.ratio_half_width <= 2.0 * self.protocol.ratio_half_width;
                return Ok(if certain { Pairs::Certain } else { Pairs::UsedUp });
            }
        }
    }

    /// Whether the record may still be measured again.
    fn may_cool_down(&self, record: &Record) -> bool {
        let rule = &self.protocol.drift;
        record.given_up.len() < rule.max_redos
            && self.cooled_s + rule.cool_down_seconds <= rule.session_seconds
    }

    /// How much slower than its baseline the reference ran, relative to it.
    fn slowdown(&self, record: &Record) -> f64 {
        median(references(record)).map_or(0.0, |us| us / self.baseline_us - 1.0)
    }

    /// Whether the system says that it slows the processor down, or the reference ran
    /// slower on cores whose frequency has fallen by as much.
    fn throttled(&self, reading: &Reading, slowdown: f64) -> bool {
        let tolerance = self.protocol.drift.tolerance;
        let fastest = |frequencies: &[CoreFrequency]| {
            frequencies.iter().map(|frequency| frequency.mhz).reduce(f64::max)
        };
        let fallen = fastest(&reading.frequencies)
            .zip(fastest(&self.baseline_reading.frequencies))
            .is_some_and(|(now, then)| now < (1.0 - tolerance) * then);
        !reading.throttled_by.is_empty() || (fallen && slowdown > tolerance)
    }
}

/// Puts the record's pairs aside.
fn give_up(record: &mut Record) {
    let mut cold_us = std::mem::take(&mut record.cold_samples_us);
    cold_us.append(&mut record.cold_reference_us);
    record.samples_cpu_us.clear();
    record.reference_cpu_us.clear();
    record.given_up.push(GivenUp {
        samples_us: std::mem::take(&mut record.samples_us),
        reference_us: std::mem::take(&mut record.reference_us),
        cold_us,
    });
}

/// The reference's run times: of the processor where the record has them.
fn references(record: &Record) -> &[f64] {
    match record.reference_cpu_us.len() == record.reference_us.len() {
        true => &record.reference_cpu_us,
        false => &record.reference_us,
    }
}

/// Share of the timed runs' wall time in which the processor was taken away.
fn preemption(record: &Record) -> f64 {
    let sum = |a: &[f64], b: &[f64]| a.iter().chain(b).sum::<f64>();
    let cpu_us = sum(&record.samples_cpu_us, &record.reference_cpu_us);
    let wall_us = sum(&record.samples_us, &record.reference_us);
    if cpu_us > 0.0 { 1.0 - cpu_us / wall_us } else { 0.0 }
}

/// Relative difference between the slowest and the fastest third of the reference runs.
fn drift(record: &Record) -> f64 {
    let references = references(record);
    let part = references.len().div_ceil(DRIFT_PARTS).max(1);
    let medians: Vec<f64> = references.chunks(part).filter_map(median).collect();
    let fastest = medians.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = medians.iter().copied().fold(0.0, f64::max);
    if medians.is_empty() { 0.0 } else { slowest / fastest - 1.0 }
}
