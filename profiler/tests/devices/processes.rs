//! Finding and ending the processes that a test has started.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The processes whose command line has `text` in it, apart from this one.
pub(crate) fn with_command(text: &str) -> Vec<u32> {
    numbers().filter(|id| *id != std::process::id() && command_of(*id).contains(text)).collect()
}

/// The processes that `parent` has started.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; state and parent come after it.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    numbers().filter(is_child).collect()
}

/// Kills one process as the kernel would.
pub(crate) fn kill(id: u32) {
    let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
}

/// Waits until `condition` holds, at most half a minute.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn numbers() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("a Linux machine");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn command_of(id: u32) -> String {
    let bytes = fs::read(Path::new("/proc").join(id.to_string()).join("cmdline"));
    String::from_utf8_lossy(&bytes.unwrap_or_default()).replace('\0', " ")
}
