//! The target file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use atb_measurements::Simulation;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use crate::TargetError;

/// The newest schema of target files that is understood.
pub const SCHEMA: u32 = 1;

/// A device: what it is called, how to reach it and how to run the agent on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name in files and messages.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What the agent is built for; found out from the device if absent.
    pub triple: Option<String>,
    /// The agent's program on this machine; the one that was built for the triple if absent.
    pub agent: Option<PathBuf>,
    /// A program on the device, with its arguments, that runs the agent.
    pub runner: Vec<String>,
    /// The folder on the device that everything of ours lies in; a leading `~/` is the home
    /// folder.
    pub folder: String,
    /// Logical cores that the agent is pinned to; empty if it is not.
    pub cores: Vec<usize>,
    /// Threads of the runtime, where the command does not say.
    pub threads: Option<usize>,
    /// The agent's environment variables.
    pub environment: BTreeMap<String, String>,
    /// How to reach it.
    pub transport: Transport,
}

/// How to reach a device.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// A process on this machine.
    Local,
    /// A machine with an SSH server.
    Ssh(Ssh),
    /// An Android device.
    Adb(Adb),
    /// An emulated processor on this machine.
    Emulated(Emulated),
    /// No device at all, only a cost model with noise.
    Simulated(Box<Simulation>),
}

/// A machine that the system's OpenSSH client reaches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// Host name, address, or a `Host` of the user's own configuration.
    pub address: String,
    /// User there, where the user's configuration does not say.
    #[serde(default)]
    pub user: Option<String>,
    /// Port, where the user's configuration does not say.
    #[serde(default)]
    pub port: Option<u16>,
    /// File of the private key, where the user's configuration does not say.
    #[serde(default)]
    pub identity: Option<PathBuf>,
    /// More options, as `ssh -o` takes them.
    #[serde(default)]
    pub options: Vec<String>,
}

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

/// A processor that qemu emulates for single programs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulated {
    /// The emulator's program.
    pub emulator: String,
    /// Processor, as the emulator's `-cpu` takes it.
    #[serde(default)]
    pub cpu: Option<String>,
    /// What programs read as `/proc/cpuinfo`.
    #[serde(default)]
    pub cpuinfo: Option<String>,
}

impl Transport {
    /// The kind, as a target file names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ssh(_) => "ssh",
            Self::Adb(_) => "adb",
            Self::Emulated(_) => "emulated",
            Self::Simulated(_) => "simulated",
        }
    }
}

/// The transports by the name that `kind` gives them.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Local,
    Ssh,
    Adb,
    Emulated,
    Simulated,
}

/// A transport without settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What stands in for a transport that does not say its kind.
#[derive(Deserialize)]
struct Kindless {
    #[serde(rename = "kind")]
    _kind: Kind,
}

/// A target file whose transport is a `T`; `schema` and the transport's `kind` are taken out
/// before, so that serde reads every table as what it is and knows the line of every key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition<T> {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    triple: Option<String>,
    #[serde(default)]
    agent: Option<PathBuf>,
    #[serde(default)]
    runner: Vec<String>,
    #[serde(default)]
    folder: Option<String>,
    #[serde(default)]
    cores: Vec<usize>,
    #[serde(default)]
    threads: Option<usize>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    transport: T,
}

impl<T> Definition<T> {
    fn into_target(self, transport: impl FnOnce(T) -> Transport) -> Target {
        let transport = transport(self.transport);
        let folder = match transport {
            Transport::Adb(_) => "/data/local/tmp/autotinybert",
            _ => "~/.cache/autotinybert",
        };
        Target {
            name: self.name,
            description: self.description,
            triple: self.triple,
            agent: self.agent,
            runner: self.runner,
            folder: self.folder.unwrap_or_else(|| folder.to_owned()),
            cores: self.cores,
            threads: self.threads,
            environment: self.environment,
            transport,
        }
    }
}

impl Target {
    /// Reads the text of a target file; `origin` is what messages call it.
    ///
    /// # Errors
    /// [`TargetError`] naming the line that is wrong.
    pub fn parse(text: &str, origin: &str) -> Result<Self, TargetError> {
        let invalid = |mut error: Error| {
            error.set_input(Some(text));
            TargetError::Invalid { origin: origin.to_owned(), source: Box::new(error) }
        };
        let mut document = DeTable::parse(text).map_err(invalid)?;
        if let Some(schema) = document.get_mut().remove("schema") {
            let found = u32::deserialize(ValueDeserializer::from(schema)).map_err(invalid)?;
            if found > SCHEMA {
                let origin = origin.to_owned();
                return Err(TargetError::Newer { origin, found, known: SCHEMA });
            }
        }
        let kind = match document.get_mut().get_mut("transport").map(|value| value.get_mut()) {
            Some(DeValue::Table(transport)) => transport.remove("kind"),
            _ => None,
        };
        let kind = kind.map(|kind| Kind::deserialize(ValueDeserializer::from(kind)));
        let kind = kind.transpose().map_err(invalid)?;
        let document = toml::Deserializer::from(document);
        let target = match kind {
            None => read::<Kindless>(document, |_| Transport::Local),
            Some(Kind::Local) => read::<Nothing>(document, |_| Transport::Local),
            Some(Kind::Ssh) => read(document, Transport::Ssh),
            Some(Kind::Adb) => read(document, Transport::Adb),
            Some(Kind::Emulated) => read(document, Transport::Emulated),
            Some(Kind::Simulated) => {
                read(document, |simulation| Transport::Simulated(Box::new(simulation)))
            }
        };
        let target = target.map_err(invalid)?;
        target.validate(origin)?;
        Ok(target)
    }

    /// Reads a target file. Relative paths in it count from its folder.
    ///
    /// # Errors
    /// [`TargetError`] naming the file and the line that is wrong.
    pub fn read(path: &Path) -> Result<Self, TargetError> {
        let text = std::fs::read_to_string(path).map_err(TargetError::io(path))?;
        let mut target = Self::parse(&text, &path.display().to_string())?;
        if let Some(agent) = &mut target.agent {
            *agent = atb_files::folder_of(path).join(&agent);
        }
        Ok(target)
    }

    /// This target at another address: a host for ssh, a serial number for adb.
    pub(crate) fn at(mut self, address: &str) -> Option<Self> {
        match &mut self.transport {
            Transport::Ssh(ssh) => address.clone_into(&mut ssh.address),
            Transport::Adb(adb) => adb.serial = Some(address.to_owned()),
            _ => return None,
        }
        self.name = format!("{}@{address}", self.name);
        Some(self)
    }

    fn validate(&self, origin: &str) -> Result<(), TargetError> {
        let wrong = |key, value: &str, expected| {
            let (origin, value) = (origin.to_owned(), format!("`{value}`"));
            Err(TargetError::Value { origin, key, value, expected })
        };
        if self.name.is_empty() || self.name.contains(['/', '\\']) {
            return wrong("name", &self.name, "a name without slashes, it goes into file names");
        }
        if let Some(core) = self.cores.iter().find(|core| {
            let same = |other: &&usize| other == core;
            self.cores.iter().filter(same).count() > 1
        }) {
            return wrong("cores", &core.to_string(), "a list of different cores");
        }
        if self.threads == Some(0) {
            return wrong("threads", "0", "at least 1");
        }
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        };
        if let Some(name) = self.environment.keys().find(|name| !is_name(name)) {
            return wrong("environment", name, "names of letters, digits and underscores");
        }
        if let Transport::Ssh(ssh) = &self.transport {
            // ssh takes what begins with a dash for an option.
            if ssh.address.is_empty() || ssh.address.starts_with('-') {
                return wrong("address", &ssh.address, "a host name or address");
            }
        }
        if !matches!(self.transport, Transport::Ssh(_) | Transport::Adb(_))
            && let Some(program) = self.runner.first()
        {
            return wrong("runner", program, "absent where the agent runs on this machine");
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(
    document: toml::Deserializer<'_>,
    transport: impl FnOnce(T) -> Transport,
) -> Result<Target, Error> {
    Ok(Definition::<T>::deserialize(document)?.into_target(transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI: &str = r#"
schema = 1
name = "pi"
cores = [2, 3]
threads = 2

[environment]
TRACT_CPU_AARCH64_KIND = "a72"

[transport]
kind = "ssh"
address = "10.0.0.7"
"#;

    fn error(text: &str) -> String {
        Target::parse(text, "pi.toml").expect_err("invalid").to_string()
    }

    #[test]
    fn a_target_is_read_with_its_defaults() {
        let target = Target::parse(PI, "pi.toml").expect("valid");
        assert_eq!(target.cores, [2, 3]);
        assert_eq!(target.folder, "~/.cache/autotinybert");
        assert_eq!(target.environment["TRACT_CPU_AARCH64_KIND"], "a72");
        let Transport::Ssh(ssh) = target.transport else { panic!("not ssh") };
        assert_eq!((ssh.address.as_str(), ssh.port), ("10.0.0.7", None));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let insert = |line: &str| error(&PI.replace("kind = \"ssh\"", line));
        let errors = [
            insert("kind = \"ssh\"\nadress = \"pi\""),
            insert("kind = \"telepathy\""),
            insert("port = 22"),
            error(&PI.replace("cores", "kores")),
            error("name = \"pi\"\n"),
            error(&PI.replace("schema = 1", "schema = 9")),
            error(&PI.replace("[2, 3]", "[3, 3]")),
            error(&PI.replace("threads = 2", "threads = 0")),
            error(&PI.replace("TRACT_CPU_AARCH64_KIND", "\"A B\"")),
            error(&PI.replace("10.0.0.7", "-oProxyCommand=x")),
        ];
        insta::assert_snapshot!(errors.join("\n\n"));
    }
}
