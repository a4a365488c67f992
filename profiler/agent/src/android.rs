//! What only Android's own programs tell, asked from `adb shell`, where they are at hand.

use std::path::Path;
use std::process::Command;

const GETPROP: &str = "/system/bin/getprop";
const DUMPSYS: &str = "/system/bin/dumpsys";

/// Names of Android's thermal status, from `android.os.PowerManager`.
const STATUS: [&str; 7] =
    ["none", "light", "moderate", "severe", "critical", "emergency", "shutdown"];

/// The phone's maker, model and system on a chip.
pub(crate) fn board() -> Option<String> {
    let model =
        format!("{} {}", property("ro.product.manufacturer")?, property("ro.product.model")?);
    Some(match property("ro.soc.model") {
        Some(soc) => format!("{model} ({soc})"),
        None => model,
    })
}

/// The version of Android.
pub(crate) fn version() -> Option<String> {
    property("ro.build.version.release").map(|release| format!("Android {release}"))
}

/// The thermal status, if it is other than none.
pub(crate) fn thermal_status() -> Option<String> {
    status_in(&output(DUMPSYS, &["thermalservice"])?)
}

fn status_in(dump: &str) -> Option<String> {
    let status: usize = dump
        .lines()
        .find_map(|line| line.trim().strip_prefix("Thermal Status:"))?
        .trim()
        .parse()
        .ok()?;
    let name = STATUS.get(status).copied().unwrap_or("unknown");
    (status > 0).then(|| format!("Android's thermal status {status} ({name})"))
}

fn property(name: &str) -> Option<String> {
    let value = output(GETPROP, &[name])?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    if !Path::new(program).exists() {
        return None;
    }
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thermal_status_is_read_from_the_dump() {
        let dump = |status| format!("IsStatusOverride: false\nThermal Status: {status}\nCached:\n");
        assert_eq!(status_in(&dump("0")), None);
        assert_eq!(status_in(&dump("3")).as_deref(), Some("Android's thermal status 3 (severe)"));
        assert_eq!(status_in("no such service"), None);
    }
}
