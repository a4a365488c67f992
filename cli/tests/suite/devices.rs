//! What a user sees of devices.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

/// atb with a configuration folder and a cache of its own.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        let user = Self { home: tempfile::tempdir().expect("a folder") };
        let targets = user.home.path().join("config/autotinybert/targets");
        fs::create_dir_all(&targets).expect("creates");
        let phone = "name = \"old-phone\"\n[transport]\nkind = \"simulated\"\n\
                     battery_percent = 9\nlocked_clocks = false\n";
        fs::write(targets.join("old-phone.toml"), phone).expect("writes");
        user
    }

    fn atb(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_atb"))
            .args(arguments)
            .current_dir(self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("ATB_CACHE", self.home.path().join("cache"))
            .output()
            .expect("atb starts")
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn devices_are_listed_with_what_they_are() {
    let user = User::new();
    let output = user.atb(&["devices", "simulated-phone", "old-phone"]);
    assert!(output.status.success(), "{}", stderr(&output));
    insta::assert_snapshot!(stdout(&output));
}

#[test]
fn a_device_without_an_agent_is_listed_with_the_remedy() {
    let user = User::new();
    let output = user.atb(&["devices", "emulated-cortex-a53", "old-phone"]);
    assert!(output.status.success());
    assert!(stdout(&output).contains("old-phone") && !stdout(&output).contains("cortex"));
    let said = stderr(&output);
    assert!(said.contains("hint: run `atb agent build --target emulated-cortex-a53`"), "{said}");
    let sought = user.home.path().join("cache/agents/aarch64-unknown-linux-musl/atb-agent");
    assert!(said.contains(&sought.display().to_string()), "{said}");
}

#[test]
fn the_doctor_gives_a_remedy_for_each_complaint_and_the_verdict() {
    let user = User::new();
    let output = user.atb(&["doctor", "--target", "old-phone"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(stdout(&output));
    let error = "error: a run on `old-phone` could not be trusted: device, battery\n";
    assert_eq!(stderr(&output), error);
}

#[test]
fn the_agent_is_built_only_from_its_source() {
    let user = User::new();
    let output = user.atb(&["agent", "build", "--target", "raspberry-pi-4"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("is not inside a checkout"), "{said}");
    assert!(said.contains("hint: run this in one, or name it with --source"), "{said}");
}
