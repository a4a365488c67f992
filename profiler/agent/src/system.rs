//! What the operating system says of the device; what it does not say is left out.

use std::fs;
use std::path::{Path, PathBuf};

use atb_measurements::{Battery, CoreCluster, CoreFrequency, DeviceContext, Reading, ThermalZone};

use crate::android;
use crate::fields::{field, kib, section};
use crate::parts::core_name;

/// The files below a root folder, which is `/` but for tests.
pub(crate) struct System {
    root: PathBuf,
}

/// Bits of a Raspberry Pi's firmware report, by the documentation of `vcgencmd`.
const FIRMWARE_BITS: [(u32, &str); 4] = [
    (0, "under-voltage"),
    (1, "frequency capped by the firmware"),
    (2, "throttled by the firmware"),
    (3, "soft temperature limit of the firmware"),
];
const FIRMWARE_REPORT: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

impl System {
    pub(crate) fn new() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// The device's context.
    pub(crate) fn context(&self) -> DeviceContext {
        let cpuinfo = self.text("proc/cpuinfo").unwrap_or_default();
        let meminfo = self.text("proc/meminfo").unwrap_or_default();
        let memory_mib = |key| field(&meminfo, key).and_then(kib).map(|kib| kib / 1024);
        let clusters = self.clusters();
        let thermal_zones = self.thermal_zones();
        let first = self.frequencies(&[0]).first().map(|frequency| frequency.mhz);
        DeviceContext {
            cpu: self.cpu_name(&cpuinfo),
            board: self.board(),
            isa: std::env::consts::ARCH.to_owned(),
            os: std::env::consts::OS.to_owned(),
            os_name: self.os_name(),
            kernel: self.text("proc/sys/kernel/osrelease"),
            cores: None,
            memory_mib: memory_mib("MemTotal"),
            memory_available_mib: memory_mib("MemAvailable"),
            free_space_mib: free_space_mib(),
            governor: self.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clocks_locked: self.clocks_locked(&clusters),
            clusters,
            frequency_mhz: first,
            temperature_c: thermal_zones.iter().map(|zone| zone.temperature_c).reduce(f64::max),
            thermal_zones,
            throttled_by: self.throttled_by(),
            battery: self.battery(),
            load_average: self.load_average(),
            virtualised: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            emulated: self.emulated(&cpuinfo),
            simulated: false,
        }
    }

    /// The sensors, frequencies those of `cores`.
    pub(crate) fn reading(&self, cores: &[usize]) -> Reading {
        Reading {
            frequencies: self.frequencies(cores),
            hottest: self
                .thermal_zones()
                .into_iter()
                .max_by(|a, b| a.temperature_c.total_cmp(&b.temperature_c)),
            throttled_by: self.throttled_by(),
            load_average: self.load_average(),
        }
    }

    /// All logical cores, those of one kind together, the fastest kind first.
    pub(crate) fn clusters(&self) -> Vec<CoreCluster> {
        let cpuinfo = self.text("proc/cpuinfo").unwrap_or_default();
        let mut clusters: Vec<CoreCluster> = Vec::new();
        for core in self.cores() {
            let max_frequency_mhz =
                self.number(self.cpufreq(core, "cpuinfo_max_freq")).map(|khz| khz / 1000.0);
            let name = core_name(&cpuinfo, core);
            let same = |cluster: &&mut CoreCluster| {
                cluster.name == name && cluster.max_frequency_mhz == max_frequency_mhz
            };
            match clusters.iter_mut().find(same) {
                Some(cluster) => cluster.cores.push(core),
                None => clusters.push(CoreCluster {
                    name,
                    cores: vec![core],
                    max_frequency_mhz,
                    governor: self.text(self.cpufreq(core, "scaling_governor")),
                }),
            }
        }
        let speed = |cluster: &CoreCluster| cluster.max_frequency_mhz.unwrap_or(0.0);
        clusters.sort_by(|a, b| speed(b).total_cmp(&speed(a)));
        clusters
    }

    /// Time that a virtual machine's host gave to others over `cores`, in milliseconds.
    pub(crate) fn steal_ms(&self, cores: &[usize]) -> Option<f64> {
        // proc(5): the eighth number of a `cpuN` line, in hundredths of a second.
        let stat = self.text("proc/stat")?;
        let ticks = stat.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let core: usize = words.next()?.strip_prefix("cpu")?.parse().ok()?;
            let steal: f64 = words.nth(7)?.parse().ok()?;
            cores.contains(&core).then_some(steal)
        });
        ticks.map(|ticks| ticks * 10.0).reduce(|a, b| a + b)
    }

    /// A line of this process's status that is a number of KiB.
    pub(crate) fn status_kib(&self, key: &str) -> Option<u64> {
        kib(field(&self.text("proc/self/status")?, key)?)
    }

    /// Resets the line `VmHWM` of the status.
    pub(crate) fn reset_peak_memory(&self) {
        // proc(5): 5 resets the peak resident set size. Where that is not allowed, the peak
        // is that of the whole session.
        let _ = fs::write(self.root.join("proc/self/clear_refs"), "5");
    }

    fn cores(&self) -> Vec<usize> {
        let mut cores: Vec<usize> = self
            .entries("sys/devices/system/cpu")
            .iter()
            .filter_map(|path| path.file_name()?.to_str()?.strip_prefix("cpu")?.parse().ok())
            .collect();
        cores.sort_unstable();
        cores
    }

    fn cpufreq(&self, core: usize, file: &str) -> String {
        format!("sys/devices/system/cpu/cpu{core}/cpufreq/{file}")
    }

    fn frequencies(&self, cores: &[usize]) -> Vec<CoreFrequency> {
        let by_cpufreq = |core: usize| {
            let khz = self.number(self.cpufreq(core, "scaling_cur_freq"))?;
            Some(CoreFrequency { core, mhz: khz / 1000.0 })
        };
        let found: Vec<CoreFrequency> = cores.iter().filter_map(|core| by_cpufreq(*core)).collect();
        if !found.is_empty() {
            return found;
        }
        let cpuinfo = self.text("proc/cpuinfo").unwrap_or_default();
        let by_cpuinfo = |core: usize| {
            let mhz = field(section(&cpuinfo, core)?, "cpu MHz")?.parse().ok()?;
            Some(CoreFrequency { core, mhz })
        };
        cores.iter().filter_map(|core| by_cpuinfo(*core)).collect()
    }

    /// Whether every core keeps one frequency; unknown where no core shows its limits.
    fn clocks_locked(&self, clusters: &[CoreCluster]) -> Option<bool> {
        let locked = |core: usize| {
            let limit = |file| self.number(self.cpufreq(core, file));
            let (low, high) = (limit("scaling_min_freq")?, limit("scaling_max_freq")?);
            let governor = self.text(self.cpufreq(core, "scaling_governor"));
            Some(low == high || governor.as_deref() == Some("performance"))
        };
        let cores = clusters.iter().flat_map(|cluster| &cluster.cores);
        cores.filter_map(|core| locked(*core)).reduce(|a, b| a && b)
    }

    fn thermal_zones(&self) -> Vec<ThermalZone> {
        let mut zones: Vec<ThermalZone> = self
            .entries("sys/class/thermal")
            .iter()
            .filter(|path| name_of(path).starts_with("thermal_zone"))
            .filter_map(|path| {
                let temperature_c = number_in(&path.join("temp"))? / 1000.0;
                let name = text_in(&path.join("type")).unwrap_or_else(|| name_of(path));
                // Zones that are switched off report absurd values.
                (-40.0..150.0)
                    .contains(&temperature_c)
                    .then_some(ThermalZone { name, temperature_c })
            })
            .collect();
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        zones
    }

    fn throttled_by(&self) -> Vec<String> {
        let firmware = self
            .text(FIRMWARE_REPORT)
            .and_then(|bits| u32::from_str_radix(bits.trim_start_matches("0x"), 16).ok())
            .unwrap_or(0);
        let firmware = FIRMWARE_BITS
            .iter()
            .filter(|(bit, _)| firmware & (1 << bit) != 0)
            .map(|(_, name)| (*name).to_owned());
        let mut coolers: Vec<String> = self
            .entries("sys/class/thermal")
            .iter()
            .filter(|path| name_of(path).starts_with("cooling_device"))
            .filter_map(|path| {
                let kind = text_in(&path.join("type"))?;
                let state = number_in(&path.join("cur_state"))?;
                let slows = kind.contains("cpufreq") || kind == "Processor";
                (slows && state > 0.0).then(|| format!("{kind} at step {state}"))
            })
            .collect();
        coolers.sort();
        firmware.chain(coolers).chain(android::thermal_status()).collect()
    }

    fn battery(&self) -> Option<Battery> {
        self.entries("sys/class/power_supply").iter().find_map(|path| {
            let is = |file: &str, value: &str| text_in(&path.join(file)).as_deref() == Some(value);
            // A mouse's battery has the scope `Device`.
            if !is("type", "Battery") || is("scope", "Device") {
                return None;
            }
            let percent = number_in(&path.join("capacity"))?.clamp(0.0, 100.0) as u8;
            Some(Battery { percent, charging: !is("status", "Discharging") })
        })
    }

    fn load_average(&self) -> Option<f64> {
        self.text("proc/loadavg")?.split(' ').next()?.parse().ok()
    }

    /// The processor's name: x86 has `model name`, many boards a `Hardware` line; else the
    /// kinds of cores.
    fn cpu_name(&self, cpuinfo: &str) -> Option<String> {
        if let Some(name) = ["model name", "Hardware"].iter().find_map(|key| field(cpuinfo, key)) {
            return Some(name.to_owned());
        }
        let kinds: Vec<String> = self
            .clusters()
            .iter()
            .filter_map(|cluster| {
                Some(format!("{} x {}", cluster.cores.len(), cluster.name.as_ref()?))
            })
            .collect();
        (!kinds.is_empty()).then(|| kinds.join(" + "))
    }

    fn board(&self) -> Option<String> {
        self.text("proc/device-tree/model")
            .or_else(android::board)
            .or_else(|| self.text("sys/class/dmi/id/product_name"))
    }

    fn os_name(&self) -> Option<String> {
        let release = self.text("etc/os-release").unwrap_or_default();
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        pretty.map(|name| name.trim_matches('"').to_owned()).or_else(android::version)
    }

    /// Whether this program runs on an emulated processor (qemu's user mode). An emulator
    /// shows its own idea of some files; each of these has been seen to give it away.
    fn emulated(&self, cpuinfo: &str) -> bool {
        let family = |arch: &str| match arch {
            "aarch64" | "arm64" | "arm" => "arm".to_owned(),
            arch if arch.starts_with("armv") => "arm".to_owned(),
            "x86" | "x86_64" | "i686" => "x86".to_owned(),
            other => other.to_owned(),
        };
        let ours = family(std::env::consts::ARCH);
        let foreign_kernel =
            self.text("proc/sys/kernel/arch").is_some_and(|arch| family(&arch) != ours);
        let foreign_cores = self
            .text("sys/devices/system/cpu/modalias")
            .and_then(|alias| {
                Some(family(alias.strip_prefix("cpu:type:")?.split([',', ':']).next()?))
            })
            .is_some_and(|family| family != ours);
        let foreign_cpuinfo = ours == "arm" && field(cpuinfo, "vendor_id").is_some();
        let named_qemu = ["proc/thread-self/comm", "proc/self/comm"]
            .iter()
            .any(|path| self.text(path).is_some_and(|name| name.starts_with("qemu-")));
        foreign_kernel || foreign_cores || foreign_cpuinfo || named_qemu
    }

    fn entries(&self, folder: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.root.join(folder)) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        text_in(&self.root.join(path))
    }

    fn number(&self, path: impl AsRef<Path>) -> Option<f64> {
        number_in(&self.root.join(path))
    }
}

/// Space that is left where this program lies, in MiB.
fn free_space_mib() -> Option<u64> {
    #[cfg(unix)]
    {
        let program = std::env::current_exe().ok()?;
        let space = nix::sys::statvfs::statvfs(program.parent()?).ok()?;
        // The width of both numbers differs from system to system.
        let bytes = space.blocks_available() as f64 * space.fragment_size() as f64;
        Some((bytes / f64::from(1 << 20)) as u64)
    }
    #[cfg(not(unix))]
    None
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn text_in(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn number_in(path: &Path) -> Option<f64> {
    text_in(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, as the root of a system.
    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
            fs::write(path, text).expect("writes");
        }
        let root = folder.path().to_owned();
        (folder, System { root })
    }

    #[test]
    fn a_hot_raspberry_pi() {
        let core = "BogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n";
        let cpuinfo = format!("processor\t: 0\n{core}\nprocessor\t: 1\n{core}\n");
        let (_folder, system) = system(&[
            ("proc/cpuinfo", &cpuinfo),
            ("proc/meminfo", "MemTotal:  3884360 kB\nMemFree: 1 kB\nMemAvailable: 2048000 kB\n"),
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1800000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq", "600000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "1800000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "1800000\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "81500\n"),
            (FIRMWARE_REPORT, "50005\n"),
        ]);
        let context = system.context();
        assert_eq!(context.board.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!(context.os_name.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(context.cpu.as_deref(), Some("2 x Cortex-A72"));
        assert_eq!(context.memory_mib, Some(3793));
        assert_eq!(context.memory_available_mib, Some(2000));
        assert_eq!(context.clusters.len(), 1);
        assert_eq!(context.clusters[0].cores, [0, 1]);
        assert_eq!(context.clusters[0].max_frequency_mhz, Some(1800.0));
        assert_eq!(context.clocks_locked, Some(false));
        assert_eq!(context.temperature_c, Some(81.5));
        assert_eq!(context.throttled_by, ["under-voltage", "throttled by the firmware"]);
        assert_eq!(context.battery, None);
        let reading = system.reading(&[0]);
        assert_eq!(reading.frequencies, [CoreFrequency { core: 0, mhz: 1500.0 }]);
        assert_eq!(reading.hottest.map(|zone| zone.name).as_deref(), Some("cpu-thermal"));
    }

    #[test]
    fn a_phone_with_big_and_little_cores() {
        let core = |number, part| {
            format!("processor\t: {number}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n")
        };
        let cpuinfo = core(0, "0xd05") + &core(1, "0xd05") + &core(2, "0xd41");
        let frequency =
            |core, khz| (format!("sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq"), khz);
        let frequencies =
            [frequency(0, "1800000"), frequency(1, "1800000"), frequency(2, "2400000")];
        let mut files: Vec<(&str, &str)> =
            frequencies.iter().map(|(path, khz)| (path.as_str(), *khz)).collect();
        files.extend([
            ("proc/cpuinfo", cpuinfo.as_str()),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_min_freq", "2400000"),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_max_freq", "2400000"),
            ("sys/class/power_supply/usb/type", "USB"),
            ("sys/class/power_supply/battery/type", "Battery"),
            ("sys/class/power_supply/battery/capacity", "17"),
            ("sys/class/power_supply/battery/status", "Discharging"),
            ("sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0"),
            ("sys/class/thermal/cooling_device0/cur_state", "3"),
            ("sys/class/thermal/cooling_device1/type", "gpu"),
            ("sys/class/thermal/cooling_device1/cur_state", "2"),
        ]);
        let (_folder, system) = system(&files);
        let context = system.context();
        let clusters: Vec<(Option<&str>, &[usize])> = context
            .clusters
            .iter()
            .map(|cluster| (cluster.name.as_deref(), &cluster.cores[..]))
            .collect();
        assert_eq!(clusters, [(Some("Cortex-A78"), &[2][..]), (Some("Cortex-A55"), &[0, 1][..])]);
        assert_eq!(context.battery, Some(Battery { percent: 17, charging: false }));
        assert_eq!(context.throttled_by, ["thermal-cpufreq-0 at step 3"]);
        assert_eq!(context.clocks_locked, Some(true));
    }

    #[test]
    fn an_emulated_processor_is_recognised() {
        let foreign = match std::env::consts::ARCH {
            "x86_64" => "aarch64",
            _ => "x86_64",
        };
        let emulated = |files: &[(&str, &str)]| system(files).1.context().emulated;
        let native = std::env::consts::ARCH;
        assert!(!emulated(&[("proc/sys/kernel/arch", native), ("proc/self/comm", "atb-agent")]));
        assert!(emulated(&[("proc/sys/kernel/arch", foreign)]));
        assert!(emulated(&[("proc/self/comm", "qemu-aarch64-st")]));
        let alias = format!("cpu:type:{foreign},ven0000fam0019:feature:,0000");
        assert!(emulated(&[("sys/devices/system/cpu/modalias", &alias)]));
    }

    #[test]
    fn stolen_time_is_that_of_the_agents_cores() {
        let stat =
            "cpu  1 2 3 4 5 6 7 99 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 2 3 4 5 6 7 9 0 0\n";
        let (_folder, system) = system(&[("proc/stat", stat)]);
        assert_eq!(system.steal_ms(&[0]), Some(80.0));
        assert_eq!(system.steal_ms(&[0, 1]), Some(170.0));
        assert_eq!(system.steal_ms(&[7]), None);
    }

    #[test]
    fn this_device_has_a_context() {
        let context = System::new().context();
        assert_eq!(context.isa, std::env::consts::ARCH);
        assert!(!context.clusters.is_empty());
        assert!(context.free_space_mib.is_some());
        assert!(!context.emulated && !context.simulated);
    }
}
