//! What the device says of itself; everything that it does not say is left out.

use std::fs;
use std::path::Path;

use atb_measurements::DeviceContext;

/// Reads the device's context from the operating system.
pub(crate) fn context() -> DeviceContext {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let frequency_khz = number("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq");
    DeviceContext {
        cpu: cpu_name(&cpuinfo),
        isa: std::env::consts::ARCH.to_owned(),
        os: std::env::consts::OS.to_owned(),
        kernel: text("/proc/sys/kernel/osrelease"),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        memory_mib: field(&meminfo, "MemTotal").and_then(kib).map(|kib| kib / 1024),
        governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        frequency_mhz: frequency_khz
            .map(|khz| khz / 1000.0)
            .or_else(|| field(&cpuinfo, "cpu MHz").and_then(|mhz| mhz.parse().ok())),
        temperature_c: temperature(),
        load_average: text("/proc/loadavg")
            .and_then(|line| line.split(' ').next().and_then(|first| first.parse().ok())),
        virtualised: field(&cpuinfo, "flags")
            .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
    }
}

/// The highest memory that this process has had since [`reset_peak_memory`], in KiB.
pub(crate) fn peak_memory_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kib(field(&status, "VmHWM")?)
}

/// Starts [`peak_memory_kib`] anew, where the system allows it.
pub(crate) fn reset_peak_memory() {
    // Documented in proc(5): 5 resets the peak resident set size.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The processor's name: x86 has `model name`, most boards a `Model` or `Hardware` line.
fn cpu_name(cpuinfo: &str) -> Option<String> {
    ["model name", "Hardware", "Model"]
        .iter()
        .find_map(|key| field(cpuinfo, key))
        .map(str::to_owned)
        .or_else(|| text("/proc/device-tree/model"))
}

fn temperature() -> Option<f64> {
    let zones = fs::read_dir("/sys/class/thermal").ok()?;
    zones
        .flatten()
        .filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"))
        .filter_map(|zone| number(zone.path().join("temp")))
        .map(|thousandths| thousandths / 1000.0)
        .filter(|celsius| (-40.0..150.0).contains(celsius))
        .reduce(f64::max)
}

/// The value of the first `key : value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// The number in `1234 kB`.
fn kib(value: &str) -> Option<u64> {
    value.strip_suffix("kB")?.trim().parse().ok()
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(path: impl AsRef<Path>) -> Option<f64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_raspberry_pi() {
        let cpuinfo = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd08\n\n\
                       Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n";
        assert_eq!(cpu_name(cpuinfo).as_deref(), Some("BCM2835"));
        assert_eq!(field(cpuinfo, "CPU part"), Some("0xd08"));
        assert_eq!(
            field("MemTotal:        3884360 kB\n", "MemTotal").and_then(kib),
            Some(3_884_360)
        );
    }

    #[test]
    fn this_device_has_a_context() {
        let context = context();
        assert_eq!(context.isa, std::env::consts::ARCH);
        assert!(context.cores.is_some_and(|cores| cores > 0));
    }
}
