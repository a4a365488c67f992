//! Names of processor cores, by the numbers that they carry.

use crate::fields::{field, section};

/// Name of the core `core` by `/proc/cpuinfo`: on ARM by its implementer and part, on x86
/// as it names itself.
pub(crate) fn core_name(cpuinfo: &str, core: usize) -> Option<String> {
    // 32-bit kernels list the part once, after all cores.
    let part = section(cpuinfo, core).unwrap_or(cpuinfo);
    let value = |key| field(part, key).or_else(|| field(cpuinfo, key));
    match (value("CPU implementer"), value("CPU part")) {
        (Some(implementer), Some(part)) => Some(
            name_of(implementer, part)
                .map_or_else(|| format!("{implementer}:{part}"), str::to_owned),
        ),
        _ => value("model name").map(str::to_owned),
    }
}

/// The makers' part numbers, from the cores' technical reference manuals, as Linux
/// (`arch/arm64/include/asm/cputype.h`) and `lscpu` have them.
fn name_of(implementer: &str, part: &str) -> Option<&'static str> {
    let name = match (implementer, part) {
        ("0x41", "0xc07") => "Cortex-A7",
        ("0x41", "0xc08") => "Cortex-A8",
        ("0x41", "0xc09") => "Cortex-A9",
        ("0x41", "0xc0d" | "0xc0e") => "Cortex-A17",
        ("0x41", "0xc0f") => "Cortex-A15",
        ("0x41", "0xd01") => "Cortex-A32",
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd04") => "Cortex-A35",
        ("0x41", "0xd05") => "Cortex-A55",
        ("0x41", "0xd07") => "Cortex-A57",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd09") => "Cortex-A73",
        ("0x41", "0xd0a") => "Cortex-A75",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse-N1",
        ("0x41", "0xd0d") => "Cortex-A77",
        ("0x41", "0xd0e") => "Cortex-A76AE",
        ("0x41", "0xd40") => "Neoverse-V1",
        ("0x41", "0xd41") => "Cortex-A78",
        ("0x41", "0xd42") => "Cortex-A78AE",
        ("0x41", "0xd44") => "Cortex-X1",
        ("0x41", "0xd46") => "Cortex-A510",
        ("0x41", "0xd47") => "Cortex-A710",
        ("0x41", "0xd48") => "Cortex-X2",
        ("0x41", "0xd49") => "Neoverse-N2",
        ("0x41", "0xd4b") => "Cortex-A78C",
        ("0x41", "0xd4d") => "Cortex-A715",
        ("0x41", "0xd4e") => "Cortex-X3",
        ("0x41", "0xd4f") => "Neoverse-V2",
        ("0x41", "0xd80") => "Cortex-A520",
        ("0x41", "0xd81") => "Cortex-A720",
        ("0x41", "0xd82") => "Cortex-X4",
        ("0x41", "0xd85") => "Cortex-X925",
        ("0x41", "0xd87") => "Cortex-A725",
        ("0x51", "0x001") => "Oryon",
        ("0x51", "0x800") => "Kryo 2xx Gold",
        ("0x51", "0x801") => "Kryo 2xx Silver",
        ("0x51", "0x802") => "Kryo 3xx Gold",
        ("0x51", "0x803") => "Kryo 3xx Silver",
        ("0x51", "0x804") => "Kryo 4xx Gold",
        ("0x51", "0x805") => "Kryo 4xx Silver",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_have_names() {
        let cpuinfo = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n\
                       processor\t: 1\nCPU implementer\t: 0x99\nCPU part\t: 0x123\n\n";
        assert_eq!(core_name(cpuinfo, 0).as_deref(), Some("Cortex-A76"));
        assert_eq!(core_name(cpuinfo, 1).as_deref(), Some("0x99:0x123"));
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\n\n";
        assert_eq!(core_name(x86, 0).as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(core_name("", 0), None);
    }
}
