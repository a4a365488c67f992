//! The agent on a phone behind the real `adb` program.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use atb_profiler::{Silent, profile};
use atb_targets::{Adb, Target, Transport, adb_devices};
use tempfile::TempDir;

use crate::adbd::Phone;
use crate::agents;
use crate::processes::{wait_until, with_command};
use crate::ssh::{Disturbed, is_complete, plan};
use crate::sshd::free_port;

/// An adb server of its own, with phones that it knows.
struct Usb {
    folder: TempDir,
    server: String,
}

impl Usb {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let usb = Self { server: format!("tcp:localhost:{}", free_port()), folder };
        usb.adb(&["start-server"]);
        usb
    }

    fn adb(&self, arguments: &[&str]) -> String {
        let output = Command::new("adb")
            .args(["-L", &self.server])
            .args(arguments)
            // Its keys and its log stay with the test.
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.folder.path())
            .output()
            .expect("the tests need adb; on Debian: apt install adb");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Plugs a phone in; its serial number.
    fn plug(&self, phone: &Phone) -> String {
        let serial = format!("127.0.0.1:{}", phone.port);
        let answer = self.adb(&["connect", &serial]);
        assert!(answer.contains("connected to"), "{answer}");
        serial
    }

    fn target(&self, serial: Option<String>) -> Target {
        let target = Target::find("android-phone").expect("built in");
        Target {
            agent: Some(agents::AARCH64.clone()),
            runner: ["qemu-aarch64", "-cpu", "cortex-a76"].map(str::to_owned).to_vec(),
            folder: self.folder.path().join("data/local/tmp").display().to_string(),
            cores: Vec::new(),
            transport: Transport::Adb(Adb { serial, server: Some(self.server.clone()) }),
            ..target
        }
    }
}

impl Drop for Usb {
    fn drop(&mut self) {
        self.adb(&["kill-server"]);
    }
}

#[test]
fn a_phone_is_measured_over_adb() {
    let usb = Usb::start();
    let phone = Phone::start();
    let serial = usb.plug(&phone);
    let file = usb.folder.path().join("measurements.jsonl");
    let target = usb.target(Some(serial.clone()));
    profile(&target, &agents::protocol(), &plan(), &file, &mut Silent).expect("measures");
    is_complete(&file, &plan());

    let listed = adb_devices(Some(&usb.server)).expect("lists");
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].serial, listed[0].state.as_str()), (&serial, "device"));
    assert_eq!(listed[0].model.as_deref(), Some("Test Phone"));

    let device = target.open().expect("reached");
    let there = device.push(&file, "a file.jsonl").expect("pushed");
    let back = usb.folder.path().join("back");
    device.pull(&there, &back).expect("pulled");
    assert_eq!(fs::read(&back).expect("there"), fs::read(&file).expect("there"));
    let error = device.pull("/no/such/file", &back).expect_err("absent").to_string();
    assert!(error.contains("/no/such/file"), "{error}");
    device.clean_up().expect("cleaned");
    assert!(!usb.folder.path().join("data/local/tmp").exists());
}

#[test]
fn an_unplugged_phone_stops_and_its_run_continues() {
    let usb = Usb::start();
    let phone = Arc::new(Phone::start());
    let serial = usb.plug(&phone);
    let file = usb.folder.path().join("measurements.jsonl");
    let target = usb.target(Some(serial));
    let cable = Arc::clone(&phone);
    let mut fault = Disturbed(Some(move || cable.unplug()), 0);
    let run = |observer: &mut dyn atb_profiler::Observer| {
        profile(&target, &agents::protocol(), &plan(), &file, observer)
    };
    if let Err(error) = run(&mut fault) {
        let agent = usb.folder.path().join("data/local/tmp/atb-agent").display().to_string();
        wait_until("the phone is quiet", || with_command(&agent).is_empty());
        assert!(error.to_string().contains("android-phone"), "{error}");
        usb.adb(&["disconnect"]);
        usb.plug(&phone);
        run(&mut Silent).expect("continues");
    }
    assert!(fault.0.is_none(), "the phone was never unplugged");
    is_complete(&file, &plan());
}

#[test]
fn of_several_phones_one_must_be_chosen() {
    let usb = Usb::start();
    let error = |serial: Option<&str>| {
        let target = usb.target(serial.map(str::to_owned));
        crate::ssh::with_help(&target.open().err().expect("no choice"))
    };
    let message = error(None);
    assert!(message.contains("adb knows no device") && message.contains("USB debugging"));
    let phones = [Phone::start(), Phone::start()];
    let serials = [usb.plug(&phones[0]), usb.plug(&phones[1])];
    let message = error(None);
    assert!(message.contains("several devices") && message.contains(&serials[1]), "{message}");
    let message = error(Some("R58N"));
    assert!(message.contains("no device R58N") && message.contains(&serials[0]), "{message}");
    assert!(usb.target(Some(serials[1].clone())).open().is_ok());
}
