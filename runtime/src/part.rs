//! Which processor an Android device has: tract asks that on Linux alone, and takes kernels for no
//! processor in particular elsewhere, other ones than those of the agent, a program for Linux.

#[cfg(all(target_os = "android", target_arch = "aarch64"))]
use tract_linalg::knobs::TRACT_CPU_AARCH64_OVERRIDE_CPU_PART;

/// Tells tract the processor's part number; before anything asks for kernels.
pub(crate) fn tell() {
    #[cfg(all(target_os = "android", target_arch = "aarch64"))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            // Whoever set one knows better.
            if TRACT_CPU_AARCH64_OVERRIDE_CPU_PART.get().is_none() {
                TRACT_CPU_AARCH64_OVERRIDE_CPU_PART.set(largest(&cpuinfo).map(str::to_owned));
            }
        });
    }
}

/// The largest part number of the cores in a `/proc/cpuinfo`, which is what tract goes by.
#[cfg(any(test, all(target_os = "android", target_arch = "aarch64")))]
fn largest(cpuinfo: &str) -> Option<&str> {
    let parts = cpuinfo.lines().filter(|line| line.starts_with("CPU part"));
    parts.filter_map(|line| line.split_whitespace().last()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_part_stands_for_the_processor() {
        let core = |part: &str| format!("processor\t: 0\nCPU part\t: {part}\n\n");
        let cpuinfo = core("0xd05") + &core("0xd0a") + &core("0xd05");
        assert_eq!(largest(&cpuinfo), Some("0xd0a"));
        assert_eq!(largest("processor\t: 0\n"), None);
    }
}
