//! The target file.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::{Connection, ProcessConnection};

/// The definitions that come with the program, by name.
const BUILT_IN: [(&str, &str); 1] = [("local", include_str!("../devices/local.toml"))];

/// A device: what it is called and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name in files and messages.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// How to reach it.
    pub transport: Transport,
}

/// How to reach a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Transport {
    /// A process on this machine.
    Local {
        /// The agent's program; the running program itself, as `atb agent`, if absent.
        #[serde(default)]
        agent: Option<PathBuf>,
    },
}

/// Why a target could not be found or reached.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// neither a name nor a file
    #[error(
        "there is no target `{name}`: it is neither a file nor one of {known}; hint: copy a file of targets/devices/ and name it"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in names.
        known: String,
    },
    /// a file that cannot be read
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// a file that is no target
    #[error("{origin}: {source}")]
    Invalid {
        /// Where it came from.
        origin: String,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// the agent's program could not be started
    #[error("the agent {} could not be started: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Target {
    /// The built-in target `name`, or the one in the file of that name.
    ///
    /// # Errors
    /// [`TargetError`] if there is neither, or the file is no target.
    pub fn find(name: &str) -> Result<Self, TargetError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, name);
        }
        let path = Path::new(name);
        if !path.exists() {
            let known: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            return Err(TargetError::Unknown { name: name.to_owned(), known: known.join(", ") });
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| TargetError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, name)
    }

    fn parse(text: &str, origin: &str) -> Result<Self, TargetError> {
        toml::from_str(text).map_err(|source| TargetError::Invalid {
            origin: origin.to_owned(),
            source: Box::new(source),
        })
    }

    /// Starts the agent on the device.
    ///
    /// # Errors
    /// [`TargetError::Start`] if its program cannot be started.
    pub fn connect(&self) -> Result<Box<dyn Connection>, TargetError> {
        match &self.transport {
            Transport::Local { agent } => {
                let (program, arguments): (PathBuf, &[&str]) = match agent {
                    Some(program) => (program.clone(), &[]),
                    None => {
                        let itself = std::env::current_exe().map_err(|source| {
                            TargetError::Start { program: PathBuf::from("atb"), source }
                        })?;
                        (itself, &["agent"])
                    }
                };
                let mut command = Command::new(&program);
                // A backtrace at every error that the runtime recovers from costs more than
                // building the model does.
                command.args(arguments).env_remove("RUST_BACKTRACE");
                let connection = ProcessConnection::spawn(command)
                    .map_err(|source| TargetError::Start { program, source })?;
                Ok(Box::new(connection))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_targets_parse_and_carry_their_names() {
        for (name, _) in BUILT_IN {
            assert_eq!(Target::find(name).expect(name).name, name);
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pi.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("writes");
        let error = || Target::find(&path.display().to_string()).expect_err("invalid").to_string();
        write("name = \"pi\"\nadress = \"10\"\n[transport]\nkind = \"local\"\n");
        assert!(error().contains("line 2") && error().contains("adress"), "{}", error());
        write("name = \"pi\"\n[transport]\nkind = \"telepathy\"\n");
        assert!(error().contains("telepathy"), "{}", error());
        let error = Target::find("phone").expect_err("unknown").to_string();
        assert!(error.starts_with("there is no target `phone`"), "{error}");
    }

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let agent = Some(PathBuf::from("no/such/agent"));
        let target = Target {
            name: "local".to_owned(),
            description: String::new(),
            transport: Transport::Local { agent },
        };
        let error = target.connect().err().expect("cannot start").to_string();
        assert!(error.starts_with("the agent no/such/agent could not be started"), "{error}");
    }
}
