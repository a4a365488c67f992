//! Whether a device is in a state in which a run can be trusted, and what to do if not.

use std::fmt;

use atb_measurements::Flag;
use atb_targets::{Target, is_on_path, tool_for};
use miette::Diagnostic;

use crate::agent::{Agent, Inspection};
use crate::error::ProfileError;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Good,
    /// The device does not say.
    Unknown,
    /// It lessens the worth of a run.
    Doubtful,
    /// A run would fail, or could not be trusted.
    Bad,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Unknown => "unknown",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub finding: String,
    /// What to do about it, where it did not come out well.
    pub remedy: Option<String>,
}

/// Free space that the agent and a model to be timed take, in MiB.
const SPACE_MIB: u64 = 64;
/// Memory that the largest model of the paper's spaces takes, in MiB.
const MEMORY_MIB: u64 = 500;
/// Above this a device is about to slow down, in degrees Celsius; boards do at 80 to 85,
/// phones by their skin's temperature long before.
const HOT_C: f64 = 75.0;
/// Above this there is little left to get warm in, in degrees Celsius.
const WARM_C: f64 = 60.0;
/// Load of other programs that one notices.
const LOAD: f64 = 0.5;

/// Examines the device of `target`, cheapest check first; what cannot be looked at because an
/// earlier check came out badly is left out.
#[must_use]
pub fn examine(target: &Target) -> Vec<Check> {
    match Agent::inspect(target) {
        Ok(inspection) => {
            let agent = &inspection.agent;
            let kind = agent.cpu_kind.as_ref().map(|kind| format!(", tuned for {kind}"));
            let finding = format!("runs {}{}", agent.runtime, kind.unwrap_or_default());
            [check("agent", Outcome::Good, finding, "")]
                .into_iter()
                .chain(checks(target, &inspection))
                .collect()
        }
        Err(error) => vec![failure(&error)],
    }
}

/// Looks at what this machine has to reach devices and to build agents for them. Nothing of it is
/// needed to measure this machine itself, so nothing comes out worse than doubtful.
#[must_use]
pub fn examine_host() -> Vec<Check> {
    let agent = |name, triple, devices| match tool_for(triple) {
        Ok(tool) => check(name, Outcome::Good, format!("{tool} builds agents for {devices}"), ""),
        Err(remedy) => {
            let finding = format!("nothing here builds agents for {devices}");
            check(name, Outcome::Doubtful, finding, &remedy)
        }
    };
    let program = |name, programs: &[&str], purpose: &str, remedy| match programs
        .iter()
        .find(|program| is_on_path(program))
    {
        Some(program) => check(name, Outcome::Good, format!("{program}, {purpose}"), ""),
        None => check(name, Outcome::Doubtful, format!("missing, {purpose}"), remedy),
    };
    vec![
        agent("64 bit", "aarch64-unknown-linux-musl", "phones and 64 bit boards"),
        agent("32 bit", "armv7-unknown-linux-gnueabihf", "32 bit boards"),
        program("ssh", &["ssh"], "for boards in the network", "apt install openssh-client"),
        program("adb", &["adb"], "for Android phones", "apt install adb"),
        program(
            "python",
            &["python3", "python"],
            "which fetches ONNX Runtime to compare with",
            "apt install python3-pip",
        ),
    ]
}

/// Whether nothing speaks against a run.
#[must_use]
pub fn is_trustworthy(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.outcome != Outcome::Bad)
}

/// The check that an error is the answer to.
fn failure(error: &ProfileError) -> Check {
    let (finding, remedy) = (error.to_string(), error.help().map(|help| help.to_string()));
    Check { name: "agent", outcome: Outcome::Bad, finding, remedy }
}

/// Judges what a device says of itself.
#[must_use]
pub fn checks(target: &Target, inspection: &Inspection) -> Vec<Check> {
    vec![
        reality(inspection),
        version(target, inspection),
        cores(target, inspection),
        space(inspection),
        memory(inspection),
        clocks(target, inspection),
        heat(inspection),
        battery(inspection),
        load(target, inspection),
    ]
}

fn check(name: &'static str, outcome: Outcome, finding: String, remedy: &str) -> Check {
    let remedy = match outcome {
        Outcome::Good | Outcome::Unknown => None,
        Outcome::Doubtful | Outcome::Bad => Some(remedy.to_owned()),
    };
    Check { name, outcome, finding, remedy }
}

fn unknown(name: &'static str) -> Check {
    check(name, Outcome::Unknown, "the device does not say".to_owned(), "")
}

fn reality(inspection: &Inspection) -> Check {
    let device = &inspection.device;
    let (outcome, finding) = match device {
        device if device.simulated => (Outcome::Bad, Flag::Simulated.text()),
        device if device.emulated => (Outcome::Bad, Flag::Emulated.text()),
        device if device.virtualised => {
            (Outcome::Doubtful, "a virtual machine, whose host may do other things as well")
        }
        _ => (Outcome::Good, "a real one"),
    };
    let remedy = match outcome {
        Outcome::Bad => "use it for tests only, and profile the real device",
        _ => "measure some architectures twice (`--retests`), which shows whether numbers repeat",
    };
    check("device", outcome, finding.to_owned(), remedy)
}

fn version(target: &Target, inspection: &Inspection) -> Check {
    let (there, here) = (&inspection.agent.version, env!("CARGO_PKG_VERSION"));
    let outcome = if there == here { Outcome::Good } else { Outcome::Bad };
    let remedy = match target.agent.is_none() && target.transport.agent_is_atb() {
        true => "build atb again".to_owned(),
        false => format!("`atb agent build --target {}`", target.name),
    };
    check("version", outcome, format!("agent {there}, atb {here}"), &remedy)
}

fn cores(target: &Target, inspection: &Inspection) -> Check {
    let there: Vec<usize> =
        inspection.device.clusters.iter().flat_map(|cluster| cluster.cores.clone()).collect();
    if there.is_empty() {
        return unknown("cores");
    }
    let missing: Vec<String> =
        target.cores.iter().filter(|core| !there.contains(core)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        let finding = format!("core {} of the target file is not there", missing.join(", "));
        let remedy = format!("choose `cores` in the target file among {there:?}");
        return check("cores", Outcome::Bad, finding, &remedy);
    }
    let kinds = inspection.device.clusters.len();
    let finding = match &target.cores[..] {
        [] if kinds == 1 => format!("{} of one kind, not pinned", there.len()),
        [] => format!("{} of {kinds} kinds, not pinned", there.len()),
        chosen => format!("pinned to {chosen:?} of {}", there.len()),
    };
    let outcome =
        if target.cores.is_empty() && kinds > 1 { Outcome::Doubtful } else { Outcome::Good };
    let remedy = "name `cores` of one kind in the target file, or the system moves the agent \
                  from one kind to another";
    check("cores", outcome, finding, remedy)
}

fn space(inspection: &Inspection) -> Check {
    let Some(free) = inspection.device.free_space_mib else { return unknown("space") };
    let outcome = if free < SPACE_MIB { Outcome::Bad } else { Outcome::Good };
    let remedy = "free some space there, or name another `folder` in the target file";
    check("space", outcome, format!("{free} MiB free"), remedy)
}

fn memory(inspection: &Inspection) -> Check {
    let Some(free) = inspection.device.memory_available_mib else { return unknown("memory") };
    let outcome = if free < MEMORY_MIB { Outcome::Doubtful } else { Outcome::Good };
    let remedy = "close other programs, or profile only smaller architectures (`--within`): the \
                  largest of the paper's spaces takes 500 MiB";
    check("memory", outcome, format!("{free} MiB available"), remedy)
}

fn clocks(target: &Target, inspection: &Inspection) -> Check {
    let Some(locked) = inspection.device.clocks_locked else { return unknown("clocks") };
    let governor = inspection.device.governor.as_deref().unwrap_or("unknown");
    let frequency = inspection.device.frequency_mhz;
    let now = frequency.map_or_else(String::new, |mhz| format!(", now at {mhz:.0} MHz"));
    let finding = format!("governor {governor}{now}");
    let outcome = if locked { Outcome::Good } else { Outcome::Doubtful };
    check("clocks", outcome, finding, target.transport.how_to_lock_clocks())
}

fn heat(inspection: &Inspection) -> Check {
    let device = &inspection.device;
    if !device.throttled_by.is_empty() {
        let finding = format!("slowed down by {}", device.throttled_by.join(", "));
        let remedy = "let it cool down, and see to its cooling and its power supply";
        return check("heat", Outcome::Bad, finding, remedy);
    }
    let Some(celsius) = device.temperature_c else { return unknown("heat") };
    let outcome = match celsius {
        celsius if celsius >= HOT_C => Outcome::Bad,
        celsius if celsius >= WARM_C => Outcome::Doubtful,
        _ => Outcome::Good,
    };
    check("heat", outcome, format!("{celsius:.0} °C"), "let it cool down first")
}

fn battery(inspection: &Inspection) -> Check {
    let Some(battery) = inspection.device.battery else {
        return check("battery", Outcome::Good, "none".to_owned(), "");
    };
    let low = inspection.device.flags().contains(&Flag::LowBattery);
    let power = if battery.charging { "on external power" } else { "discharging" };
    let outcome = if low { Outcome::Bad } else { Outcome::Good };
    let finding = format!("{} %, {power}", battery.percent);
    check("battery", outcome, finding, "charge it: phones save power when it is low")
}

fn load(target: &Target, inspection: &Inspection) -> Check {
    let device = &inspection.device;
    let Some(load) = device.load_average else { return unknown("load") };
    let cores = device.cores.unwrap_or(1) as f64;
    let outcome = if load > cores - target.threads.unwrap_or(1) as f64 + LOAD {
        Outcome::Bad
    } else if load > LOAD {
        Outcome::Doubtful
    } else {
        Outcome::Good
    };
    let finding = format!("{load:.1} programs run on {cores} cores");
    check("load", outcome, finding, "end what else runs on the device, or wait for it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use atb_measurements::{AgentContext, Battery, CoreCluster, DeviceContext};

    /// A board on which nothing is wrong.
    fn board() -> Inspection {
        let cluster = CoreCluster {
            name: Some("Cortex-A72".to_owned()),
            cores: vec![0, 1, 2, 3],
            max_frequency_mhz: Some(1800.0),
            governor: Some("performance".to_owned()),
        };
        let device = DeviceContext {
            cores: Some(4),
            clusters: vec![cluster],
            memory_available_mib: Some(3500),
            free_space_mib: Some(9000),
            governor: Some("performance".to_owned()),
            clocks_locked: Some(true),
            frequency_mhz: Some(1800.0),
            temperature_c: Some(44.0),
            load_average: Some(0.1),
            ..DeviceContext::default()
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Inspection { device, agent: AgentContext { version, ..AgentContext::default() } }
    }

    fn target() -> Target {
        Target::find("raspberry-pi-4").expect("built in")
    }

    /// What is not good about the board after `change`, each with its outcome.
    fn complaints(change: impl FnOnce(&mut Inspection)) -> Vec<(&'static str, Outcome)> {
        let mut inspection = board();
        change(&mut inspection);
        let checks = checks(&target(), &inspection);
        let complaint = |check: &Check| {
            matches!(check.outcome, Outcome::Bad | Outcome::Doubtful) && check.remedy.is_some()
        };
        checks.iter().filter(|c| complaint(c)).map(|check| (check.name, check.outcome)).collect()
    }

    #[test]
    fn a_board_in_good_order_passes() {
        let checks = checks(&target(), &board());
        assert!(checks.iter().all(|check| check.outcome == Outcome::Good), "{checks:?}");
        assert!(is_trustworthy(&checks));
    }

    #[test]
    fn each_problem_is_found_by_its_check_alone() {
        use Outcome::{Bad, Doubtful};
        let found = |change: fn(&mut DeviceContext)| complaints(|it| change(&mut it.device));
        assert_eq!(found(|device| device.emulated = true), [("device", Bad)]);
        assert_eq!(found(|device| device.simulated = true), [("device", Bad)]);
        assert_eq!(found(|device| device.virtualised = true), [("device", Doubtful)]);
        assert_eq!(complaints(|it| it.agent.version = "0.0.1".to_owned()), [("version", Bad)]);
        // The target is pinned to core 3.
        assert_eq!(found(|device| device.clusters[0].cores = vec![0, 1]), [("cores", Bad)]);
        assert_eq!(found(|device| device.free_space_mib = Some(12)), [("space", Bad)]);
        assert_eq!(found(|device| device.memory_available_mib = Some(300)), [("memory", Doubtful)]);
        assert_eq!(found(|device| device.clocks_locked = Some(false)), [("clocks", Doubtful)]);
        assert_eq!(found(|device| device.temperature_c = Some(68.0)), [("heat", Doubtful)]);
        assert_eq!(found(|device| device.temperature_c = Some(81.0)), [("heat", Bad)]);
        assert_eq!(
            found(|device| device.throttled_by = vec!["under-voltage".to_owned()]),
            [("heat", Bad)]
        );
        let battery = |percent, charging| Some(Battery { percent, charging });
        assert_eq!(complaints(|it| it.device.battery = battery(9, false)), [("battery", Bad)]);
        assert_eq!(complaints(|it| it.device.battery = battery(9, true)), []);
        assert_eq!(found(|device| device.load_average = Some(1.2)), [("load", Doubtful)]);
        assert_eq!(found(|device| device.load_average = Some(3.8)), [("load", Bad)]);
    }

    #[test]
    fn a_device_that_says_nothing_is_not_blamed() {
        let silent = DeviceContext::default();
        let inspection = Inspection { device: silent, ..board() };
        let checks = checks(&target(), &inspection);
        assert!(is_trustworthy(&checks));
        let unknown = checks.iter().filter(|check| check.outcome == Outcome::Unknown).count();
        assert_eq!(unknown, 6, "{checks:?}");
    }

    #[test]
    fn a_device_that_is_not_there_is_the_only_finding() {
        let target = Target {
            agent: Some("no/such/agent".into()),
            ..Target::find("local").expect("built in")
        };
        let checks = examine(&target);
        assert_eq!(checks.len(), 1);
        assert!(checks[0].finding.contains("no/such/agent"), "{checks:?}");
        assert!(!is_trustworthy(&checks));
    }
}
