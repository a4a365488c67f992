//! The measurement protocol: warm up until stable, then pairs until the ratio is certain.

use std::time::Instant;

use atb_measurements::{Flag, Protocol, Record, Role, Statistics, Subject, WarmUp, median};

/// Something that can be run and timed.
pub trait Model {
    /// Runs once.
    ///
    /// # Errors
    /// Whatever the runtime says, as text for the host.
    fn run(&mut self) -> Result<(), String>;
}

/// The time that runs are measured by.
pub trait Clock {
    /// Microseconds since some fixed moment.
    fn now_us(&self) -> f64;

    /// Microseconds that the calling thread has had the processor for; `None` where the
    /// system does not tell.
    fn cpu_us(&self) -> Option<f64>;
}

/// The device's own monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    start: Instant,
}

impl WallClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for WallClock {
    fn now_us(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e6
    }

    fn cpu_us(&self) -> Option<f64> {
        #[cfg(unix)]
        {
            use nix::time::{ClockId, clock_gettime};
            let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
            Some(time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3)
        }
        #[cfg(not(unix))]
        None
    }
}

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
/// Relative change of the reference between two of these parts that counts as drift.
const DRIFT: f64 = 0.10;

/// Share of the wall time without the processor that is worth a flag.
const PREEMPTION: f64 = 0.05;

/// One timed run.
struct Run {
    wall_us: f64,
    cpu_us: Option<f64>,
}

fn timed(model: &mut dyn Model, clock: &dyn Clock) -> Result<Run, String> {
    let (start, start_cpu) = (clock.now_us(), clock.cpu_us());
    model.run()?;
    let (end_cpu, end) = (clock.cpu_us(), clock.now_us());
    let cpu_us = end_cpu.zip(start_cpu).map(|(end, start)| end - start);
    Ok(Run { wall_us: end - start, cpu_us })
}

/// Runs `model` until a fast and a slow moving average of its run times agree.
///
/// # Errors
/// What the model says if it fails to run.
pub fn warm_up(model: &mut dyn Model, rule: &WarmUp, clock: &dyn Clock) -> Result<Timings, String> {
    let mut runs_us = Vec::new();
    let (mut fast, mut slow) = (0.0, 0.0);
    while runs_us.len() < rule.max_runs.max(1) {
        let run_us = timed(model, clock)?.wall_us;
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

/// Measures `model` against `reference` by `protocol`. The record's build time and memory
/// are the caller's to fill in.
///
/// # Errors
/// What a model says if it fails to run.
pub fn measure(
    subject: Subject,
    role: Role,
    model: &mut dyn Model,
    reference: &mut dyn Model,
    protocol: &Protocol,
    clock: &dyn Clock,
) -> Result<Record, String> {
    let mut record = Record::new(subject, role);
    let warm = warm_up(model, &protocol.warm_up, clock)?;
    if !warm.settled {
        record.flags.push(Flag::ColdStart);
    }
    record.warm_up_us = warm.runs_us;

    let begin = clock.now_us();
    let certain = loop {
        for _ in 0..protocol.settle_runs {
            record.cold_samples_us.push(timed(model, clock)?.wall_us);
        }
        let sample = timed(model, clock)?;
        for _ in 0..protocol.settle_runs {
            record.cold_reference_us.push(timed(reference, clock)?.wall_us);
        }
        let reference_run = timed(reference, clock)?;
        record.samples_us.push(sample.wall_us);
        record.reference_us.push(reference_run.wall_us);
        // The thread's own time is the whole of it only where there is no other thread.
        if protocol.threads == 1
            && let (Some(sample), Some(reference)) = (sample.cpu_us, reference_run.cpu_us)
        {
            record.samples_cpu_us.push(sample);
            record.reference_cpu_us.push(reference);
        }

        let pairs = record.samples_us.len();
        if pairs < protocol.min_pairs.max(1) {
            continue;
        }
        let statistics = Statistics::of(&record).map_err(|error| error.to_string())?;
        if statistics.ratio_half_width <= protocol.ratio_half_width {
            break true;
        }
        let spent_s = (clock.now_us() - begin) / 1e6;
        if pairs >= protocol.max_pairs || spent_s >= protocol.max_seconds {
            // Ending on time with an interval up to twice as wide is usual on a busy
            // device; wider than that, the number itself is in doubt.
            break statistics.ratio_half_width <= 2.0 * protocol.ratio_half_width;
        }
    };
    if !certain {
        record.flags.push(Flag::Noisy);
    }
    if preemption(&record) > PREEMPTION {
        record.flags.push(Flag::Preempted);
    }
    let references = match record.reference_cpu_us.len() == record.reference_us.len() {
        true => &record.reference_cpu_us,
        false => &record.reference_us,
    };
    if drift(references) > DRIFT {
        record.flags.push(Flag::Drift);
    }
    Ok(record)
}

/// Share of the timed runs' wall time in which the processor was taken away.
fn preemption(record: &Record) -> f64 {
    let sum = |a: &[f64], b: &[f64]| a.iter().chain(b).sum::<f64>();
    let cpu_us = sum(&record.samples_cpu_us, &record.reference_cpu_us);
    let wall_us = sum(&record.samples_us, &record.reference_us);
    if cpu_us > 0.0 { 1.0 - cpu_us / wall_us } else { 0.0 }
}

/// Relative difference between the slowest and the fastest third of the reference runs.
fn drift(reference_us: &[f64]) -> f64 {
    let part = reference_us.len().div_ceil(DRIFT_PARTS).max(1);
    let medians: Vec<f64> = reference_us.chunks(part).filter_map(median).collect();
    let fastest = medians.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = medians.iter().copied().fold(0.0, f64::max);
    if medians.is_empty() { 0.0 } else { slowest / fastest - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A device whose speed is a function of the time since its start.
    struct Device {
        now_us: f64,
        cpu_us: f64,
        /// Whether another program runs half of the time, in slices of 4 ms.
        shared: bool,
        slowdown: fn(f64) -> f64,
        noise: u64,
        last: Option<&'static str>,
    }

    impl Device {
        fn start(slowdown: fn(f64) -> f64) -> Rc<RefCell<Self>> {
            Rc::new(RefCell::new(Self {
                now_us: 0.0,
                cpu_us: 0.0,
                shared: false,
                slowdown,
                noise: 1,
                last: None,
            }))
        }
    }

    struct SimulatedClock(Rc<RefCell<Device>>);

    impl Clock for SimulatedClock {
        fn now_us(&self) -> f64 {
            self.0.borrow().now_us
        }

        fn cpu_us(&self) -> Option<f64> {
            Some(self.0.borrow().cpu_us)
        }
    }

    /// A model of a known cost that runs 20 % slower right after another one, its caches
    /// being cold, and is disturbed in one run of eight.
    struct Simulated {
        device: Rc<RefCell<Device>>,
        name: &'static str,
        cost_us: f64,
    }

    impl Model for Simulated {
        fn run(&mut self) -> Result<(), String> {
            let mut device = self.device.borrow_mut();
            device.noise = device.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let unit = (device.noise >> 40) as f64 / (1u64 << 24) as f64;
            let jitter = 1.0 + 0.02 * unit + if device.noise >> 61 == 0 { 0.5 } else { 0.0 };
            let cold = if device.last == Some(self.name) { 1.0 } else { 1.2 };
            device.last = Some(self.name);
            let slowdown = (device.slowdown)(device.now_us / 1e6);
            let cost_us = self.cost_us * cold * jitter * slowdown;
            device.cpu_us += cost_us;
            device.now_us += cost_us;
            if device.shared {
                let slices =
                    (device.cpu_us / 4000.0).floor() - ((device.cpu_us - cost_us) / 4000.0).floor();
                device.now_us += 4000.0 * slices;
            }
            Ok(())
        }
    }

    fn measured(slowdown: fn(f64) -> f64, protocol: &Protocol) -> Record {
        measured_on(&Device::start(slowdown), protocol)
    }

    fn measured_on(device: &Rc<RefCell<Device>>, protocol: &Protocol) -> Record {
        let model = |name, cost_us| Simulated { device: Rc::clone(device), name, cost_us };
        let arch = "2-128-512-2-128".parse().expect("parses");
        measure(
            Subject::architecture(arch),
            Role::Sample,
            &mut model("subject", 9000.0),
            &mut model("reference", 3000.0),
            protocol,
            &SimulatedClock(Rc::clone(device)),
        )
        .expect("runs")
    }

    fn ratio(record: &Record) -> f64 {
        Statistics::of(record).expect("valid").ratio
    }

    #[test]
    fn the_ratio_is_found_on_a_steady_device() {
        let record = measured(|_| 1.0, &Protocol::default());
        assert!((ratio(&record) / 3.0 - 1.0).abs() < 0.005, "ratio {}", ratio(&record));
        assert_eq!(record.flags, []);
        assert_eq!(record.cold_samples_us.len(), record.samples_us.len());
    }

    #[test]
    fn the_ratio_survives_another_program_and_the_record_says_so() {
        let device = Device::start(|_| 1.0);
        device.borrow_mut().shared = true;
        let record = measured_on(&device, &Protocol::default());
        assert!((ratio(&record) / 3.0 - 1.0).abs() < 0.005, "ratio {}", ratio(&record));
        assert_eq!(record.flags, [Flag::Preempted]);
    }

    #[test]
    fn the_ratio_survives_slow_drift_and_a_sudden_throttle() {
        let drifting = measured(|s| 1.0 + 0.3 * (s * 2.0).sin(), &Protocol::default());
        assert!((ratio(&drifting) / 3.0 - 1.0).abs() < 0.01, "ratio {}", ratio(&drifting));
        let throttled = measured(|s| if s < 0.35 { 1.0 } else { 1.7 }, &Protocol::default());
        assert!((ratio(&throttled) / 3.0 - 1.0).abs() < 0.01, "ratio {}", ratio(&throttled));
        assert_eq!(throttled.flags, [Flag::Drift]);
    }

    #[test]
    fn measuring_ends_at_its_limits_and_says_so() {
        let jumpy = |s: f64| {
            let bits = ((s * 1e6) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            1.0 + (bits >> 40) as f64 / (1u64 << 24) as f64
        };
        let few = Protocol { max_pairs: 20, ..Protocol::default() };
        let record = measured(jumpy, &few);
        assert_eq!(record.samples_us.len(), 20);
        assert!(record.flags.contains(&Flag::Noisy), "{:?}", record.flags);
        let short = Protocol { max_seconds: 0.1, ..Protocol::default() };
        assert_eq!(measured(jumpy, &short).samples_us.len(), short.min_pairs);
    }

    #[test]
    fn the_warm_up_lasts_until_the_device_is_warm() {
        let device = Device::start(|s| 1.0 + 2.0 * (-s * 20.0).exp());
        let mut model = Simulated { device: Rc::clone(&device), name: "subject", cost_us: 5000.0 };
        let clock = SimulatedClock(Rc::clone(&device));
        let warm = warm_up(&mut model, &WarmUp::default(), &clock).expect("runs");
        assert!(warm.settled);
        assert!(warm.runs_us.len() > WarmUp::default().min_runs);
        let rule = WarmUp { max_runs: 5, ..WarmUp::default() };
        let device = Device::start(|s| 1.0 + s * 30.0);
        let mut model = Simulated { device: Rc::clone(&device), name: "subject", cost_us: 5000.0 };
        let cold = warm_up(&mut model, &rule, &SimulatedClock(device)).expect("runs");
        assert!(!cold.settled);
        assert_eq!(cold.runs_us.len(), 5);
    }
}
