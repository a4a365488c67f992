//! The files of `/proc` that are lines of `key: value`.

/// The value of the first `key : value` line.
pub(crate) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// The part of `/proc/cpuinfo` that is about one core.
pub(crate) fn section(cpuinfo: &str, core: usize) -> Option<&str> {
    cpuinfo.split("\n\n").find(|part| field(part, "processor") == Some(&*core.to_string()))
}

/// The number in `1234 kB`.
pub(crate) fn kib(value: &str) -> Option<u64> {
    value.strip_suffix("kB")?.trim().parse().ok()
}
