//! The target file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use crate::connection::Connection;
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::{InvalidValue, TargetError};
use crate::transport::{KindName, Local, Transport, TransportReader};
use crate::visible::has_control_characters;

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

/// What stands in for a transport that does not say its kind.
#[derive(Deserialize)]
struct Kindless {
    #[serde(rename = "kind")]
    _kind: KindName,
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
        let folder = transport.default_folder();
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
            TargetError::Invalid { origin: origin.to_owned(), problem: Box::new(error) }
        };
        let mut document = DeTable::parse(text).map_err(invalid)?;
        if let Some(schema) = document.get_mut().remove("schema") {
            let found = u64::deserialize(ValueDeserializer::from(schema)).map_err(invalid)?;
            atb_files::check_schema(origin, found, SCHEMA)?;
        }
        let kind = match document.get_mut().get_mut("transport").map(|value| value.get_mut()) {
            Some(DeValue::Table(transport)) => transport.remove("kind"),
            _ => None,
        };
        let kind = kind.map(|kind| KindName::deserialize(ValueDeserializer::from(kind)));
        let kind = kind.transpose().map_err(invalid)?;
        let document = Document(toml::Deserializer::from(document));
        let target = match kind {
            // It is not there to be read, and the error says so.
            None => document.read_as::<Kindless>(|_| Transport::Local(Local {})),
            Some(kind) => kind.read(document),
        };
        let target = target.map_err(invalid)?;
        target.checked(origin)
    }

    /// Reads a target file. Relative paths in it count from its folder.
    ///
    /// # Errors
    /// [`TargetError`] naming the file and the line that is wrong.
    pub fn read(path: &Path) -> Result<Self, TargetError> {
        let text = fs_err::read_to_string(path)?;
        let mut target = Self::parse(&text, &path.display().to_string())?;
        if let Some(agent) = &mut target.agent {
            *agent = atb_files::folder_of(path).join(&agent);
        }
        Ok(target)
    }

    /// This target at another address: a host for ssh, a serial number for adb. `None` if
    /// its transport has no addresses.
    pub(crate) fn at(mut self, address: &str) -> Option<Result<Self, TargetError>> {
        let origin = format!("{}@{address}", self.name);
        if !self.transport.set_address(address) {
            return None;
        }
        self.name = origin.clone();
        Some(self.checked(&crate::visible::visible(&origin)))
    }

    fn checked(self, origin: &str) -> Result<Self, TargetError> {
        match self.check() {
            Ok(()) => Ok(self),
            Err(problem) => Err(TargetError::Value { origin: origin.to_owned(), problem }),
        }
    }

    fn check(&self) -> Result<(), InvalidValue> {
        let ends = |text: &str| text.trim() != text || text.starts_with('.') || text.len() > 100;
        if self.name.is_empty()
            || self.name.contains(['/', '\\'])
            || has_control_characters(&self.name)
            || ends(&self.name)
        {
            let expected = "up to 100 characters that begin with no dot, without slashes and \
                            control characters: it goes into file names";
            return Err(InvalidValue::new("name", &self.name, expected));
        }
        if let Some(core) = self.cores.iter().find(|core| **core > MOST_CORES) {
            return Err(InvalidValue::new("cores", core, "a list of numbers from 0 to 1023"));
        }
        if let Some(core) = self.cores.iter().find(|core| {
            let same = |other: &&usize| other == core;
            self.cores.iter().filter(same).count() > 1
        }) {
            return Err(InvalidValue::new("cores", core, "a list of different cores"));
        }
        if let Some(threads) = self.threads.filter(|threads| !(1..=MOST_CORES).contains(threads)) {
            return Err(InvalidValue::new("threads", threads, "1 to 1023"));
        }
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        };
        if let Some(name) = self.environment.keys().find(|name| !is_name(name)) {
            let expected = "names of letters, digits and underscores";
            return Err(InvalidValue::new("environment", name, expected));
        }
        if self.folder.is_empty() || has_control_characters(&self.folder) {
            return Err(InvalidValue::new("folder", &self.folder, "a path on the device"));
        }
        self.transport.check()?;
        match self.runner.first() {
            Some(program) if !self.transport.is_remote() => {
                let expected = "absent where the agent runs on this machine";
                Err(InvalidValue::new("runner", program, expected))
            }
            _ => Ok(()),
        }
    }

    fn deployment(&self) -> Deployment {
        Deployment {
            target: self.name.clone(),
            triple: self.triple.clone(),
            agent: self.agent.clone(),
            runner: self.runner.clone(),
            folder: self.folder.clone(),
            environment: self.environment.clone(),
        }
    }

    /// Reaches the device.
    ///
    /// # Errors
    /// [`TargetError`] if it does not answer.
    pub fn open(&self) -> Result<Box<dyn Device>, TargetError> {
        self.transport.open(&self.deployment())
    }

    /// Reaches the device and starts the agent there.
    ///
    /// # Errors
    /// [`TargetError`] as of [`Target::open`] and [`Device::connect`].
    pub fn connect(&self) -> Result<Box<dyn Connection>, TargetError> {
        self.open()?.connect()
    }
}

/// Highest number of a core, and most threads.
const MOST_CORES: usize = 1023;

/// A target file without `schema` and the transport's `kind`.
struct Document<'a>(toml::Deserializer<'a>);

impl Document<'_> {
    fn read_as<T: DeserializeOwned>(self, transport: fn(T) -> Transport) -> Result<Target, Error> {
        Ok(Definition::<T>::deserialize(self.0)?.into_target(transport))
    }
}

impl TransportReader for Document<'_> {
    type Output = Result<Target, Error>;

    fn read<T: DeserializeOwned>(self, wrap: fn(T) -> Transport) -> Self::Output {
        self.read_as(wrap)
    }
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
            error(&PI.replace("[2, 3]", "[2, 4096]")),
            error(&PI.replace("threads = 2", "threads = 5000")),
            insert("kind = \"ssh\"\nport = 0"),
        ];
        insta::assert_snapshot!(errors.join("\n\n"));
    }

    #[test]
    fn names_that_would_leave_a_folder_or_steer_a_terminal_are_refused() {
        for name in ["..", ".", "a/b", "a\\\\b", "", " pi", "\\u001b[2Jpi", "\\u202epi"] {
            let message = error(&PI.replace("\"pi\"", &format!("\"{name}\"")));
            assert!(message.contains("`name` is"), "{name}: {message}");
            assert!(!message.contains(['\u{1b}', '\u{202e}']), "{message}");
        }
    }
}
