//! The agent's command line, without a library for it: the program is to be small.

use atb_measurements::Simulation;

use crate::machine::Machine;
use crate::real::RealMachine;
use crate::simulated::SimulatedMachine;

/// Why the agent's arguments are not understood.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// an argument that it does not have
    #[error("unknown argument `{0}`; hint: the agent takes `--simulate SETTINGS` or nothing")]
    Unknown(String),
    /// `--simulate` without settings
    #[error("`--simulate` needs settings as JSON; hint: `{{}}` takes the default ones")]
    NoSettings,
    /// settings that are none
    #[error("the settings after `--simulate` are not those of a simulated device: {0}")]
    Settings(String),
}

/// The machine that `arguments` (without the program's name) ask for: this one, or with
/// `--simulate SETTINGS` a simulated one.
///
/// # Errors
/// [`OptionError`] naming the argument.
pub fn machine(
    mut arguments: impl Iterator<Item = String>,
) -> Result<Box<dyn Machine>, OptionError> {
    let machine: Box<dyn Machine> = match arguments.next().as_deref() {
        None => return Ok(Box::new(RealMachine::new())),
        Some("--simulate") => {
            let settings = arguments.next().ok_or(OptionError::NoSettings)?;
            let simulation: Simulation = serde_json::from_str(&settings)
                .map_err(|error| OptionError::Settings(error.to_string()))?;
            Box::new(SimulatedMachine::new(simulation).map_err(OptionError::Settings)?)
        }
        Some(other) => return Err(OptionError::Unknown(other.to_owned())),
    };
    match arguments.next() {
        None => Ok(machine),
        Some(surplus) => Err(OptionError::Unknown(surplus)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Result<Box<dyn Machine>, OptionError> {
        machine(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    fn error(arguments: &[&str]) -> String {
        asked(arguments).err().expect("refused").to_string()
    }

    #[test]
    fn the_arguments_choose_the_machine() {
        assert!(!asked(&[]).expect("this machine").context().simulated);
        assert!(asked(&["--simulate", "{}"]).expect("a simulation").context().simulated);
        assert!(error(&["--help"]).contains("`--help`"));
        assert!(error(&["--simulate"]).contains("needs settings"));
        assert!(error(&["--simulate", "{\"noize\":1}"]).contains("unknown field `noize`"));
        assert!(error(&["--simulate", "{\"clusters\":[]}"]).contains("no cores"));
        assert!(error(&["--simulate", "{}", "x"]).contains("`x`"));
    }
}
