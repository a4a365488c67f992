//! The target file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use atb_measurements::{THREADS, check_cores};
use atb_settings::{Check, Checked, Layers, SettingsError, has_control_characters, visible};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::connection::Connection;
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::transport::{KindName, Transport, TransportReader};

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

/// The version of a target file.
#[derive(Deserialize)]
struct Versioned {
    schema: Option<u64>,
}

/// A target file whose transport is not known yet.
#[derive(Deserialize)]
struct AnyTarget {
    transport: AnyTransport,
}

#[derive(Deserialize)]
struct AnyTransport {
    kind: KindName,
}

/// A target file whose transport is a `T`; `schema` and the transport's `kind` are taken out
/// before, so that every transport knows its own keys alone.
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
        Self::of(Layers::new().text(origin, text)?, origin)
    }

    /// Reads a target file. Relative paths in it count from its folder.
    ///
    /// # Errors
    /// [`TargetError`] naming the file and the line that is wrong.
    pub fn read(path: &Path) -> Result<Self, TargetError> {
        let layers = Layers::new().file(path)?;
        let mut target = Self::of(layers, &path.display().to_string())?;
        if let Some(agent) = &mut target.agent {
            *agent = atb_files::folder_of(path).join(&agent);
        }
        Ok(target)
    }

    fn of(layers: Layers, origin: &str) -> Result<Self, TargetError> {
        if let Versioned { schema: Some(found) } = layers.parse()? {
            atb_files::check_schema(origin, found, SCHEMA)?;
        }
        let AnyTarget { transport } = layers.parse()?;
        let layers = layers.without("schema").without("transport.kind");
        let target = transport.kind.read(Document(&layers))?;
        layers.check(&target)?;
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
        Some(match self.checked() {
            Ok(()) => Ok(self),
            Err(problem) => Err(TargetError::Address { origin: visible(&origin), problem }),
        })
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

impl Checked for Target {
    fn check(&self, at: &mut Check) {
        let name = &self.name;
        let is_file_name = !name.is_empty()
            && name.len() <= 100
            && name.trim() == name
            && !name.starts_with('.')
            && !name.contains(['/', '\\'])
            && !has_control_characters(name);
        let expected = "up to 100 characters that begin with no dot, without slashes and control \
                        characters: it goes into file names";
        at.that("name", quoted(name), is_file_name, expected);
        check_cores(&self.cores, at);
        at.optional("threads", self.threads, THREADS);
        for name in self.environment.keys() {
            let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            at.that(
                "environment",
                quoted(name),
                is_name,
                "names of letters, digits and underscores",
            );
        }
        let is_path = !self.folder.is_empty() && !has_control_characters(&self.folder);
        at.that("folder", quoted(&self.folder), is_path, "a path on the device");
        at.table("transport", |at| self.transport.check(at));
        let can_run = self.runner.is_empty() || self.transport.is_remote();
        let expected = "none where the agent runs on this machine";
        at.that("runner", format!("{:?}", self.runner), can_run, expected);
    }
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// A target file without `schema` and the transport's `kind`.
struct Document<'a>(&'a Layers);

impl TransportReader for Document<'_> {
    type Output = Result<Target, SettingsError>;

    fn read<T: DeserializeOwned>(self, wrap: fn(T) -> Transport) -> Self::Output {
        Ok(self.0.parse::<Definition<T>>()?.into_target(wrap))
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
