//! A device that does not exist: how fast it would be, and how it would misbehave.

use atb_settings::{Check, Checked, above_0_to};
use atb_space::{Architecture, Cost, Precision, Workload};
use serde::{Deserialize, Serialize};

/// A simulated device. Its run times follow a cost model that is known exactly
/// ([`Simulation::latency_us`]), disturbed in the ways that real devices are; the default
/// is a quiet phone with big and little cores. The same settings and requests give the
/// same numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Simulation {
    /// Seed of everything that is random.
    pub seed: u64,
    /// The cores, the fastest kind first.
    pub clusters: Vec<SimulatedCluster>,
    /// How many times as many operations a cycle does on 8-bit integers.
    pub int8_speedup: f64,
    /// Memory bandwidth, in GB/s; every weight is read once a run.
    pub memory_gb_per_s: f64,
    /// Fixed time of a layer, in microseconds.
    pub layer_overhead_us: f64,
    /// Fixed time of a run, in microseconds.
    pub run_overhead_us: f64,
    /// How much slower the first run after another model's is, its caches being cold:
    /// 0.2 is 20 %.
    pub cold_cache: f64,
    /// Standard deviation of one run's time, relative to it.
    pub noise: f64,
    /// Share of runs that something disturbs and makes half as long again.
    pub outliers: f64,
    /// A slow change of the clock.
    pub drift: Option<SimulatedDrift>,
    /// Slowing down when hot.
    pub throttling: Option<SimulatedThrottling>,
    /// Share of the time that other programs have the core for, in slices of 4 ms.
    pub other_load: f64,
    /// Moves between kinds of cores, unless the agent is pinned.
    pub migration: Option<SimulatedMigration>,
    /// Whether the cores keep one frequency.
    pub locked_clocks: bool,
    /// Memory, in MiB. A model that does not fit kills the agent, as on a small board.
    pub memory_mib: u64,
    /// The battery's charge in percent, where it has one that is not being charged.
    pub battery_percent: Option<u8>,
    /// Seconds that really pass for each simulated second: zero, the default, waits for
    /// nothing.
    pub pace: f64,
}

/// Cores of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedCluster {
    /// Name of the core.
    pub name: String,
    /// Number of such cores.
    pub cores: usize,
    /// Their frequency, in MHz.
    pub frequency_mhz: f64,
    /// Floating-point operations a cycle of each.
    pub flops_per_cycle: f64,
}

/// A clock that swings slowly around its frequency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedDrift {
    /// Largest relative deviation: 0.2 is 20 % up and down.
    pub amplitude: f64,
    /// Time of one swing, in seconds.
    pub period_s: f64,
}

/// A device that heats up while it works and slows down above a limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedThrottling {
    /// Temperature of the room, and of the device at the start, in degrees Celsius.
    pub room_c: f64,
    /// Temperature that it would reach at full clock in the long run.
    pub full_load_c: f64,
    /// Time in which the distance to the final temperature falls to a third, in seconds.
    pub time_constant_s: f64,
    /// Temperature at which it slows down; it recovers 5 degrees below.
    pub limit_c: f64,
    /// Its speed then: 0.6 is 60 % of the full one.
    pub speed: f64,
}

/// A scheduler that moves the program to the slowest kind of cores now and then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedMigration {
    /// Time from one move to the next, in seconds.
    pub every_s: f64,
    /// Time that the program then stays there, in seconds.
    pub for_s: f64,
}

impl Checked for Simulation {
    fn check(&self, at: &mut Check) {
        let cores =
            self.clusters.iter().map(|cluster| cluster.cores).fold(0, usize::saturating_add);
        at.that("clusters", cores, (1..=1_024).contains(&cores), "1 to 1024 cores in all");
        for (number, cluster) in self.clusters.iter().enumerate() {
            at.table(&format!("clusters.{number}"), |at| {
                at.range("frequency_mhz", cluster.frequency_mhz, above_0_to(1e6));
                at.range("flops_per_cycle", cluster.flops_per_cycle, above_0_to(1e6));
            });
        }
        at.range("int8_speedup", self.int8_speedup, above_0_to(100.0));
        at.range("memory_gb_per_s", self.memory_gb_per_s, above_0_to(1e6));
        at.range("layer_overhead_us", self.layer_overhead_us, 0.0..=1e9);
        at.range("run_overhead_us", self.run_overhead_us, 0.0..=1e9);
        at.range("cold_cache", self.cold_cache, 0.0..=100.0);
        at.range("noise", self.noise, 0.0..=1.0);
        at.range("outliers", self.outliers, 0.0..=1.0);
        if let Some(drift) = self.drift {
            at.table("drift", |at| {
                at.range("amplitude", drift.amplitude, 0.0..1.0);
                at.range("period_s", drift.period_s, above_0_to(1e9));
            });
        }
        if let Some(rule) = self.throttling {
            at.table("throttling", |at| {
                at.range("room_c", rule.room_c, -100.0..=200.0);
                at.range("full_load_c", rule.full_load_c, -100.0..=1_000.0);
                at.range("time_constant_s", rule.time_constant_s, above_0_to(1e9));
                at.range("limit_c", rule.limit_c, -100.0..=1_000.0);
                at.range("speed", rule.speed, above_0_to(1.0));
            });
        }
        at.range("other_load", self.other_load, 0.0..=0.95);
        if let Some(migration) = self.migration {
            at.table("migration", |at| {
                at.range("every_s", migration.every_s, above_0_to(1e9));
                at.range("for_s", migration.for_s, 0.0..=1e9);
            });
        }
        at.optional("battery_percent", self.battery_percent, 0..=100);
        at.range("pace", self.pace, 0.0..=1e6);
    }
}

impl Default for Simulation {
    fn default() -> Self {
        let cluster = |name: &str, cores, frequency_mhz, flops_per_cycle| SimulatedCluster {
            name: name.to_owned(),
            cores,
            frequency_mhz,
            flops_per_cycle,
        };
        Self {
            seed: 0,
            clusters: vec![
                cluster("simulated big", 2, 2400.0, 12.0),
                cluster("simulated little", 6, 1800.0, 4.0),
            ],
            int8_speedup: 2.5,
            memory_gb_per_s: 8.0,
            layer_overhead_us: 60.0,
            run_overhead_us: 50.0,
            cold_cache: 0.2,
            noise: 0.005,
            outliers: 0.03,
            drift: None,
            throttling: None,
            other_load: 0.0,
            migration: None,
            locked_clocks: true,
            memory_mib: 8192,
            battery_percent: None,
            pace: 0.0,
        }
    }
}

/// Memory of the simulated agent itself, in KiB.
const AGENT_KIB: u64 = 16 * 1024;
/// Share of an ideal speed-up that each further thread brings.
const THREAD_EFFICIENCY: f64 = 0.85;

impl Simulation {
    /// The true time of one undisturbed run on the fastest cores, in microseconds.
    #[must_use]
    pub fn latency_us(&self, arch: &Architecture, workload: Workload, threads: usize) -> f64 {
        self.clusters.first().map_or(f64::NAN, |cluster| {
            self.latency_on_us(cluster, (arch, Precision::F32), workload, threads)
        })
    }

    /// The true time of one undisturbed run on the cores of `cluster`, in microseconds.
    #[must_use]
    pub fn latency_on_us(
        &self,
        cluster: &SimulatedCluster,
        (arch, precision): (&Architecture, Precision),
        workload: Workload,
        threads: usize,
    ) -> f64 {
        let flops = Cost::flops(arch, workload.batch, workload.sequence);
        let speed_up =
            1.0 + THREAD_EFFICIENCY * (threads.clamp(1, cluster.cores.max(1)) - 1) as f64;
        let flops_per_cycle = cluster.flops_per_cycle
            * match precision {
                Precision::F32 | Precision::F16 => 1.0,
                Precision::Int8 => self.int8_speedup,
            };
        let compute_us = flops / (cluster.frequency_mhz * flops_per_cycle * speed_up);
        let weight_bytes = (precision.bytes() * Cost::encoder_parameters(arch)) as f64;
        let memory_us = weight_bytes / (self.memory_gb_per_s * 1e3);
        let layers_us = self.layer_overhead_us * arch.layers().len() as f64;
        compute_us + memory_us + layers_us + self.run_overhead_us
    }

    /// Memory of an agent with this model beside nothing else, in KiB.
    #[must_use]
    pub fn memory_kib(
        &self,
        model: (&Architecture, Precision),
        workload: Workload,
        vocabulary: usize,
    ) -> u64 {
        AGENT_KIB + self.model_kib(model, workload, vocabulary)
    }

    /// Memory of the model alone, in KiB.
    #[must_use]
    pub fn model_kib(
        &self,
        (arch, precision): (&Architecture, Precision),
        workload: Workload,
        vocabulary: usize,
    ) -> u64 {
        let weights = precision.bytes() * Cost::parameters(arch, vocabulary, workload.sequence);
        (weights + Cost::activation_bytes(arch, workload)) / 1024
    }

    /// Time to build the model, in milliseconds: its weights are written twice.
    #[must_use]
    pub fn build_ms(
        &self,
        model: (&Architecture, Precision),
        workload: Workload,
        vocabulary: usize,
    ) -> f64 {
        let kib = self.model_kib(model, workload, vocabulary) as f64;
        let overhead_ms = 1.0 + model.0.layers().len() as f64;
        overhead_ms + 2.0 * kib * 1024.0 / (self.memory_gb_per_s * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_times_by_hand() {
        let arch: Architecture = "2-128-512-2-128".parse().expect("parses");
        let workload = Workload { batch: 1, sequence: 128 };
        let simulation = Simulation::default();
        // Two layers of 2 x 128 x (4 x 128^2 + 2 x 128 x 512 + 2 x 128 x 128) operations
        // and the pooler's 2 x 128^2, at 28.8 operations a nanosecond.
        let compute_us = (2.0 * 256.0 * (65_536.0 + 131_072.0 + 32_768.0) + 32_768.0) / 28_800.0;
        // Two layers of 198,272 weights of 4 bytes at 8 bytes a nanosecond.
        let memory_us = 2.0 * 198_272.0 * 4.0 / 8000.0;
        let by_hand = compute_us + memory_us + 2.0 * 60.0 + 50.0;
        let latency_us = simulation.latency_us(&arch, workload, 1);
        assert!((latency_us - by_hand).abs() < 1e-6, "{latency_us} and {by_hand}");
        let little = &simulation.clusters[1];
        assert!(
            simulation.latency_on_us(little, (&arch, Precision::F32), workload, 1)
                > 2.0 * latency_us
        );
        let big = &simulation.clusters[0];
        let int8_us = simulation.latency_on_us(big, (&arch, Precision::Int8), workload, 1);
        assert!(int8_us < 0.6 * latency_us, "{int8_us} of {latency_us}");
        assert!(simulation.latency_us(&arch, workload, 2) < latency_us);
    }

    #[test]
    fn values_outside_of_their_range_are_refused() {
        assert!(Simulation::default().checked().is_ok());
        let text = r#"{"clusters": [], "noise": -1, "drift": {"amplitude": 1, "period_s": 0}}"#;
        let simulation: Simulation = serde_json::from_str(text).expect("reads");
        assert_eq!(
            simulation.checked().expect_err("out of range").to_string(),
            "`clusters` is 0, expected 1 to 1024 cores in all; `noise` is -1, expected 0 to 1; \
             `drift.amplitude` is 1, expected 0 to below 1; `drift.period_s` is 0, expected above \
             0 to 1000000000"
        );
    }

    #[test]
    fn misspelt_settings_are_refused() {
        let error = serde_json::from_str::<Simulation>("{\"noize\":0.1}").expect_err("refused");
        assert!(error.to_string().contains("unknown field `noize`"), "{error}");
        let simulation: Simulation = serde_json::from_str("{\"noise\":0.1}").expect("reads");
        assert_eq!(simulation, Simulation { noise: 0.1, ..Simulation::default() });
    }
}
