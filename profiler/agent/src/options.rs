//! The agent's command line, without a library for it: the program is to be small.

use std::time::Duration;

use atb_measurements::Simulation;

use crate::machine::{Machine, Refusal};
use crate::real::RealMachine;
use crate::simulated::SimulatedMachine;

/// Why the agent's arguments are not understood.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OptionError {
    #[error("unknown argument `{0}`")]
    #[diagnostic(help("the agent takes `--simulate SETTINGS` and `--silence SECONDS`"))]
    Unknown(String),
    #[error("`--simulate` needs settings as JSON")]
    #[diagnostic(help("`{{}}` takes the default ones"))]
    NoSettings,
    #[error("the settings after `--simulate` are not those of a simulated device: {message}")]
    Settings {
        message: String,
        #[help]
        hint: Option<String>,
    },
    #[error("`--silence` needs a number of seconds, at least 1")]
    NoSeconds,
}

impl OptionError {
    fn of_settings(refusal: impl Into<Refusal>) -> Self {
        let Refusal { message, hint } = refusal.into();
        Self::Settings { message, hint }
    }
}

/// What the agent was started with.
pub struct Options {
    /// What it measures on.
    pub machine: Box<dyn Machine>,
    /// How long the host may send nothing, not even an empty line, before it counts as gone.
    pub silence: Option<Duration>,
}

impl Options {
    /// Reads `arguments`, without the program's name: the machine is this one, or with
    /// `--simulate SETTINGS` a simulated one.
    ///
    /// # Errors
    /// [`OptionError`] naming the argument.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, OptionError> {
        let mut options = Self { machine: Box::new(RealMachine::new()), silence: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--simulate" => {
                    let settings = arguments.next().ok_or(OptionError::NoSettings)?;
                    let simulation: Simulation = serde_json::from_str(&settings)
                        .map_err(|error| OptionError::of_settings(error.to_string()))?;
                    let machine =
                        SimulatedMachine::new(simulation).map_err(OptionError::of_settings)?;
                    options.machine = Box::new(machine);
                }
                "--silence" => {
                    let seconds = arguments.next().and_then(|text| text.parse().ok());
                    let seconds = seconds.filter(|seconds| *seconds > 0);
                    let seconds = seconds.ok_or(OptionError::NoSeconds)?;
                    options.silence = Some(Duration::from_secs(seconds));
                }
                _ => return Err(OptionError::Unknown(argument)),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Result<Options, OptionError> {
        Options::parse(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    fn error(arguments: &[&str]) -> String {
        asked(arguments).err().expect("refused").to_string()
    }

    #[test]
    fn the_arguments_choose_the_machine() {
        assert!(!asked(&[]).expect("this machine").machine.context().simulated);
        assert!(asked(&["--simulate", "{}"]).expect("a simulation").machine.context().simulated);
        let limited = asked(&["--silence", "30"]).expect("a time");
        assert_eq!(limited.silence, Some(Duration::from_secs(30)));
        assert!(error(&["--silence", "0"]).contains("at least 1"));
        assert!(error(&["--help"]).contains("`--help`"));
        assert!(error(&["--simulate"]).contains("needs settings"));
        assert!(error(&["--simulate", "{\"noize\":1}"]).contains("unknown field `noize`"));
        assert!(error(&["--simulate", "{\"clusters\":[]}"]).contains("no cores"));
        assert!(error(&["--simulate", "{}", "x"]).contains("`x`"));
    }
}
