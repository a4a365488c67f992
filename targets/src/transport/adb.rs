//! The shell of an Android device that the `adb` program reaches.

use std::path::Path;
use std::process::{Command, Stdio};

use atb_settings::visible;
use serde::Deserialize;

use super::kind::{Discovery, TransportKind};
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::process::output_of;
use crate::remote::Remote;
use crate::shell::{Shell, ShellError, succeeded, words};

/// An Android device that the `adb` program reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adb {
    /// Serial number as `adb devices` shows it; the only device if absent.
    #[serde(default)]
    pub serial: Option<String>,
    /// The adb server, as `adb -L` takes it; the usual one if absent.
    #[serde(default)]
    pub server: Option<String>,
}

impl TransportKind for Adb {
    fn open(&self, deployment: &Deployment) -> Result<Box<dyn Device>, TargetError> {
        Ok(Box::new(Remote::open(deployment, Client::new(&deployment.target, self)?)?))
    }

    fn set_address(&mut self, address: &str) -> bool {
        self.serial = Some(address.to_owned());
        true
    }

    fn discover(&self) -> Discovery {
        // Without adb there is no phone to be found.
        let devices = adb_devices(self.server.as_deref()).unwrap_or_default();
        Discovery::At(devices.into_iter().map(|device| device.serial).collect())
    }

    fn default_folder(&self) -> &'static str {
        "/data/local/tmp/autotinybert"
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn how_to_lock_clocks(&self) -> &'static str {
        "only a phone with root can fix its clocks; without, measure on one core and some \
         architectures twice (`--retests`)"
    }
}

/// A device that adb lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdbDevice {
    /// Its serial number.
    pub serial: String,
    /// What adb can do with it: `device` if everything.
    pub state: String,
    /// The model's name, if adb knows it.
    pub model: Option<String>,
}

/// How to get the program.
const INSTALL: &str = "install Android's platform tools (Debian: apt install adb)";

/// The adb client for one device.
pub(crate) struct Client {
    server: Option<String>,
    serial: String,
}

impl Client {
    /// Chooses the device.
    pub(crate) fn new(target: &str, adb: &Adb) -> Result<Self, TargetError> {
        let devices = adb_devices(adb.server.as_deref())?;
        let unreachable = |cause: String, help: String| TargetError::Unreachable {
            target: target.to_owned(),
            cause,
            help,
        };
        let list = |devices: &[AdbDevice]| {
            let names: Vec<&str> = devices.iter().map(|device| device.serial.as_str()).collect();
            names.join(", ")
        };
        let device = match &adb.serial {
            Some(serial) => devices.iter().find(|device| device.serial == *serial),
            None => match &devices[..] {
                [] | [_] => devices.first(),
                several => {
                    return Err(unreachable(
                        format!("several devices are connected: {}", list(several)),
                        format!(
                            "choose one as `{target}@SERIAL` or with `serial` in the target file"
                        ),
                    ));
                }
            },
        };
        let Some(device) = device else {
            let cause = match &adb.serial {
                Some(serial) if !devices.is_empty() => {
                    format!("adb knows no device {serial}, only {}", list(&devices))
                }
                _ => "adb knows no device".to_owned(),
            };
            let help = "connect the phone and switch on USB debugging in its developer options";
            return Err(unreachable(cause, help.to_owned()));
        };
        if device.state != "device" {
            let help = match device.state.as_str() {
                "unauthorized" => "allow USB debugging for this computer on the phone's screen",
                "offline" => "unplug the phone and plug it in again, or run `adb reconnect`",
                _ => "adb says nothing more; `adb devices -l` may",
            };
            let cause = format!("adb says that {} is {}", device.serial, device.state);
            return Err(unreachable(cause, help.to_owned()));
        }
        Ok(Self { server: adb.server.clone(), serial: device.serial.clone() })
    }

    fn adb(&self, arguments: &[&str]) -> Command {
        let mut command = adb(self.server.as_deref());
        command.args(["-s", &self.serial]).args(arguments);
        command
    }

    /// Runs a command that copies one file.
    fn copy(command: Command) -> Result<(), ShellError> {
        succeeded(&output_of(command, Stdio::null()).map_err(ShellError::of_command)?)
    }
}

impl Shell for Client {
    fn program(&self) -> &str {
        "adb"
    }

    fn how_to_install(&self) -> String {
        INSTALL.to_owned()
    }

    fn command(&self, script: &str) -> Result<Command, ShellError> {
        // Without a terminal: its line discipline would change what passes through.
        Ok(self.adb(&["shell", "-e", "none", "-T", script]))
    }

    fn upload(&self, local: &Path, path: &str) -> Result<(), ShellError> {
        let mut command = self.adb(&["push"]);
        command.arg(local).arg(path);
        Self::copy(command)
    }

    fn download(&self, path: &str, local: &Path) -> Result<(), ShellError> {
        let mut command = self.adb(&["pull", path]);
        command.arg(local);
        Self::copy(command)
    }

    fn remedy(&self, cause: &str) -> String {
        if cause.contains("doesn't support") {
            "atb needs Android 7 or newer".to_owned()
        } else {
            "check the cable, and what `adb devices` says".to_owned()
        }
    }

    fn keep_alive(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

fn adb(server: Option<&str>) -> Command {
    let mut command = Command::new("adb");
    if let Some(server) = server {
        command.args(["-L", server]);
    }
    command
}

/// The devices that the adb server (the usual one, or the given one) knows.
///
/// # Errors
/// [`TargetError`] if there is no adb program or it fails.
pub fn adb_devices(server: Option<&str>) -> Result<Vec<AdbDevice>, TargetError> {
    let mut command = adb(server);
    command.args(["devices", "-l"]);
    let output = output_of(command, Stdio::null()).map_err(|cause| TargetError::Program {
        program: "adb".to_owned(),
        cause,
        help: INSTALL.to_owned(),
    })?;
    if !output.status.success() {
        return Err(TargetError::Unreachable {
            target: "adb".to_owned(),
            cause: words(&output),
            help: "`adb kill-server` makes the next command start a fresh server".to_owned(),
        });
    }
    Ok(parse_devices(&visible(&String::from_utf8_lossy(&output.stdout))))
}

/// Reads the lines `SERIAL STATE KEY:VALUE...` behind the headline.
fn parse_devices(text: &str) -> Vec<AdbDevice> {
    let devices = text.lines().skip_while(|line| !line.starts_with("List of devices")).skip(1);
    devices
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let serial = words.next()?.to_owned();
            let state = words.next()?.to_owned();
            let model = words.find_map(|word| word.strip_prefix("model:"));
            Some(AdbDevice { serial, state, model: model.map(|name| name.replace('_', " ")) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_devices_is_read() {
        let text = "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n\
                    List of devices attached\n\
                    R58N12ABCDE            device usb:1-2 product:beyond model:Some_Phone device:b\n\
                    192.168.1.9:5555       offline\n\n";
        let device = |serial: &str, state: &str, model: Option<&str>| AdbDevice {
            serial: serial.to_owned(),
            state: state.to_owned(),
            model: model.map(str::to_owned),
        };
        assert_eq!(
            parse_devices(text),
            [
                device("R58N12ABCDE", "device", Some("Some Phone")),
                device("192.168.1.9:5555", "offline", None)
            ]
        );
        assert_eq!(parse_devices("List of devices attached\n\n"), []);
    }
}
